//! Where the ranks of an MPI program are, and how they come there.
//!
//! A [`Layout`] says at which site each rank is; a program that runs has one, and a change of it
//! leads to the next. Ranks are begun, moved and restored in the same steps, each of which the
//! control plane asks of every site that takes part before it asks for the next one. All steps of a
//! move carry the number of the layout it leads to, those of a checkpoint a number of its own;
//! numbers only grow, and a site does nothing about one that is over:
//!
//! | step | what a site does |
//! |---|---|
//! | [`Step::Prepare`] | makes room for ranks that come, and listens |
//! | [`Step::Connect`] | dials the others |
//! | [`Step::Copy`] | sends what ranks that leave have in memory; they run on |
//! | [`Step::Stop`] | has all ranks stand where they are in calls of MPI |
//! | [`Step::Send`] | sends the rest, and what MPI knows |
//! | [`Step::Arrive`] | puts the world together again; nobody runs yet |
//! | [`Step::Go`] | lets all ranks go on, after the new layout was stored |
//! | [`Step::Undo`] | instead of the last: goes on as before |

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use types::Digest;

/// Where the ranks are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Layout {
    /// Higher than those of the layouts before it; the first is 1.
    pub number: u64,
    /// The site of each rank, by its number among those of the program.
    pub places: Vec<u32>,
}

impl Layout {
    /// Whether a site has ranks.
    pub fn has(&self, site: u32) -> bool {
        self.places.contains(&site)
    }

    /// The sites that have ranks, in order.
    pub fn sites(&self) -> Vec<u32> {
        let mut sites = self.places.clone();
        sites.sort_unstable();
        sites.dedup();
        sites
    }

    /// The ranks at a site.
    pub fn ranks(&self, site: u32) -> impl Iterator<Item = u32> {
        let at = move |(rank, place): (u32, &u32)| (*place == site).then_some(rank);
        (0..).zip(&self.places).filter_map(at)
    }
}

/// Where a site waits for the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Door {
    /// Its number.
    pub site: u32,
    /// Where to dial for states, if states go there.
    pub states: Option<SocketAddr>,
    /// Where to dial for messages, if it is for the one who is asked to dial.
    pub messages: Option<SocketAddr>,
    /// What lets in.
    pub secret: String,
}

/// What connections between sites carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// States of ranks, from a site of the old layout to one of the new.
    States,
    /// Messages of ranks, both ways.
    Messages,
}

impl Purpose {
    /// What a connection is known by on its way through agents.
    pub fn name(self, uid: &str, number: u64, from: u32) -> String {
        let kind = match self {
            Self::States => "states",
            Self::Messages => "messages",
        };
        format!("{uid}/{number}/{from}/{kind}")
    }
}

/// A step towards a layout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Step {
    /// Make room and listen.
    Prepare {
        /// The number of the site that is asked.
        here: u32,
        /// How often the program was begun; what runs of an earlier time is over.
        incarnation: u32,
        /// What is to be.
        layout: Layout,
        /// What is; nothing when the ranks begin or are restored.
        before: Option<Layout>,
        /// What they are restored from: one snapshot of each site that had some.
        restore: Vec<Digest>,
    },
    /// Connect to the others.
    Connect {
        /// The number of the site that is asked.
        here: u32,
        /// Where they are.
        doors: Vec<Door>,
    },
    /// Copy memories while the ranks run.
    Copy,
    /// Stop all ranks.
    Stop,
    /// Send what is left.
    Send,
    /// Take in what has come.
    Arrive,
    /// Run.
    Go,
    /// Drop what is prepared and run on as before.
    Undo,
    /// Write the ranks, which stand as those of all sites do, into a file.
    Save,
    /// Give what was written to the control plane; the ranks run.
    Keep,
}
