//! Messages between a site's agent and the control plane: JSON text over one WebSocket that the
//! agent dials.
//!
//! The agent says [`FromSite::Hello`], the control plane [`FromControl::Welcome`]. From then on
//! the agent beats ([`FromSite::Beat`]) at a third of the lease; every answer to a beat renews the
//! lease, counted by the agent from when it *sent* the beat. What the site shall run arrives whole
//! in [`Desired`], never as a difference. Steps of a transaction are [`Call`]s with replies.

use crate::{
    Problem, cell::CellSpec, decision::DecisionSpec, policy, service::ServiceSpec, site::SiteStore,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};
use types::{Bytes, Cpu, Digest, Epoch};

/// Version of these messages; another one is refused at `Hello`.
pub const LINK_VERSION: u32 = 1;

/// What an agent says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum FromSite {
    /// The first message.
    Hello {
        /// [`LINK_VERSION`].
        version: u32,
        /// The site's name.
        site: String,
        /// For selection; `tier: edge`.
        labels: BTreeMap<String, String>,
        /// Where its ingress is reached, and its peers' listener unless `peer_address` says
        /// otherwise.
        address: IpAddr,
        /// Where its peers' listener is reached, over mutual TLS.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        peer_address: Option<IpAddr>,
        /// The ingress' port.
        ingress_port: u16,
        /// The port for other sites.
        peer_port: u16,
        /// Processor time that it offers.
        cpu: Cpu,
        /// Memory that it offers.
        memory: Bytes,
        /// Its store of objects.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        store: Option<SiteStore>,
        /// The agent's own version, for people.
        agent_version: String,
        /// What it holds now.
        held: Vec<Held>,
    },
    /// Asks for the lease's renewal and reports; also sent at once when something changed.
    Beat {
        /// Counts up.
        sequence: u64,
        /// What it holds now.
        held: Vec<Held>,
        /// Cells of `run`, those that ended since the last acknowledged beat included.
        cells: Vec<HeldCell>,
        /// What was answered under epochs that it was told to drop, until it is noted.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tails: Vec<Tail>,
        /// What policies decided at the site while it was cut off, the oldest first, until it is
        /// noted.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        decided: Vec<Decided>,
    },
    /// The answer to a call.
    Reply {
        /// The call's number.
        id: u64,
        /// What came of it.
        result: Result<Reply, Problem>,
    },
}

/// What the control plane says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum FromControl {
    /// The site is known from now on.
    Welcome {
        /// How long a lease holds after the beat that it answers was sent.
        lease_ms: u64,
        /// What it shall run.
        desired: Box<Desired>,
    },
    /// The beat arrived; the lease is renewed.
    Ack {
        /// The beat's number.
        sequence: u64,
        /// Tails that need not be sent again: uid and epoch.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        noted: Vec<(String, Epoch)>,
        /// Decisions that need not be sent again: their ids.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        recorded: Vec<String>,
    },
    /// What the site shall run changed.
    Desired(Box<Desired>),
    /// Do this and reply.
    Call {
        /// Numbers the reply.
        id: u64,
        /// What to do.
        call: Box<Call>,
    },
    /// The agent is refused and shall not come back as it is.
    Refused(Problem),
}

/// All that a site shall run, at one revision.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Desired {
    /// The store's revision.
    pub revision: u64,
    /// Services.
    pub services: Vec<Assignment>,
    /// Cells of `run`.
    pub cells: Vec<CellAssignment>,
    /// The other sites, for checkpoints.
    pub peers: Vec<Peer>,
    /// What it holds of these it shall drop: uid and the highest epoch to drop.
    pub drop: Vec<(String, Epoch)>,
    /// Policies of its services, which it asks itself while it is cut off.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<PolicyAssignment>,
}

/// A policy that a site asks while it is cut off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyAssignment {
    /// Whose.
    pub tenant: String,
    /// Its name.
    pub name: String,
    /// Names it for ever.
    pub uid: String,
    /// Counts its changes.
    pub generation: u64,
    /// The uid of its service, which is at the site.
    pub service: String,
    /// What is wanted.
    pub spec: policy::PolicySpec,
    /// The model that it forecasts with, if that is one of the catalog: a blob of the control
    /// plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Digest>,
    /// Where else its service may be.
    pub places: Vec<PolicyPlace>,
    /// When its service moved, the latest first, within a day.
    pub moves: Vec<policy::Moved>,
}

/// A site where a policy's service may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyPlace {
    /// Its name.
    pub site: String,
    /// It is at the edge.
    pub edge: bool,
}

/// What a policy decided at a site that was cut off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decided {
    /// Names it for ever.
    pub id: String,
    /// The policy's tenant, name and uid.
    pub tenant: String,
    /// Its name.
    pub policy: String,
    /// Names the policy for ever.
    pub uid: String,
    /// The decision; `at` is by the site's clock.
    pub spec: DecisionSpec,
    /// Where the service would go.
    pub go: Option<String>,
    /// What came of it there.
    pub observed: serde_json::Value,
}

/// One service that a site shall serve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Assignment {
    /// Whose.
    pub tenant: String,
    /// Its name.
    pub name: String,
    /// Names it for ever.
    pub uid: String,
    /// The site's right to serve it.
    pub epoch: Epoch,
    /// Module to fetch.
    pub module: Digest,
    /// What is wanted.
    pub spec: ServiceSpec,
    /// Start from the newest checkpoint of this service that this site or a peer holds.
    pub restore: bool,
    /// A user put the service back to a snapshot: checkpoints of older epochs than this are no
    /// longer its state, and where there is no newer one it starts from the snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<StartState>,
}

/// A snapshot that a service goes on from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StartState {
    /// The epoch that began with it.
    pub epoch: Epoch,
    /// The snapshot, a blob of the control plane.
    pub digest: Digest,
}

/// One cell that a site shall run once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CellAssignment {
    /// Whose.
    pub tenant: String,
    /// Its name.
    pub name: String,
    /// Names it for ever.
    pub uid: String,
    /// Module to fetch.
    pub module: Digest,
    /// Ranks of it that are here, or on their way.
    #[serde(default)]
    pub ranks: u32,
    /// Of a tissue of several sites: how often it was begun. What runs of an earlier time is over.
    #[serde(default)]
    pub incarnation: u32,
    /// What is wanted.
    pub spec: CellSpec,
}

/// Another site, as its peers reach it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Peer {
    /// Its name.
    pub site: String,
    /// Where its peers' listener is.
    pub address: SocketAddr,
    /// Where its ingress is.
    pub ingress: SocketAddr,
    /// SHA-256 of the public key that its name belongs to, in hexadecimal; between machines
    /// whoever shows another one is not this site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Where its store of objects listens to those of other sites.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<SocketAddr>,
}

/// A service as a site holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Held {
    /// Whose.
    pub tenant: String,
    /// Its name.
    pub name: String,
    /// Names it for ever.
    pub uid: String,
    /// Under which it is held.
    pub epoch: Epoch,
    /// How often the cell was started within this epoch.
    pub incarnation: u32,
    /// What it does.
    pub state: HeldState,
    /// Why, when it failed.
    pub message: String,
    /// Requests answered within this incarnation.
    pub requests_answered: u64,
    /// Microseconds of processor time that they took.
    #[serde(default)]
    pub cpu_us: u64,
    /// Milliseconds since the Unix epoch of the last checkpoint.
    pub last_checkpoint: Option<u64>,
    /// What crashes lost, latest first: as much of it as fits into the message and was not
    /// acknowledged within this session.
    pub lost: Vec<crate::service::Lost>,
    /// Bytes of linear memory.
    pub memory: Bytes,
    /// The checkpoint from which this epoch went on, if that was not the state at this site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_from: Option<Stamp>,
    /// What its ingress answered.
    #[serde(default)]
    pub answers: Answers,
    /// What is wrong with its status page; empty if nothing is, absent where none was read yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
}

/// Answers to a service's requests since the agent began, and how long they took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Answers {
    /// Answers of the service.
    pub count: u64,
    /// Answers that say that it did not (500 and above).
    pub failed: u64,
    /// Microseconds that all of them took together.
    pub sum_us: u64,
}

impl Answers {
    /// What came since an earlier count; nothing is known without one, or if counting began anew.
    #[must_use]
    pub fn since(self, before: Option<Self>) -> Self {
        let Some(before) = before else { return Self::default() };
        let less = |now: u64, then: u64| now.checked_sub(then);
        match (
            less(self.count, before.count),
            less(self.failed, before.failed),
            less(self.sum_us, before.sum_us),
        ) {
            (Some(count), Some(failed), Some(sum_us)) => Self { count, failed, sum_us },
            // The agent began anew: all of it is new.
            _ => self,
        }
    }
}

/// Orders the checkpoints of one service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stamp {
    /// Under which it was written.
    pub epoch: Epoch,
    /// Within which it was written.
    pub incarnation: u32,
    /// Counts up within the service's life.
    pub sequence: u64,
}

/// What a site had answered under an epoch that is over, and that another site may have gone on
/// without.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tail {
    /// Of which service.
    pub uid: String,
    /// Under which epoch.
    pub epoch: Epoch,
    /// Within which incarnation.
    pub incarnation: u32,
    /// Milliseconds since the Unix epoch of the discovery.
    pub at: u64,
    /// Oldest first.
    pub segments: Vec<Segment>,
}

/// What was answered between two checkpoints.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Segment {
    /// The sequence of the checkpoint before.
    pub sequence: u64,
    /// How many requests.
    pub count: u64,
    /// Their ids, as many as are named.
    pub request_ids: Vec<String>,
}

/// What a site does with a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HeldState {
    /// The module is being fetched, compiled or restored.
    Starting,
    /// It answers.
    Serving,
    /// It received a state and waits to be activated.
    Prepared,
    /// Its state has left; it waits for the verdict.
    HandedOver,
    /// Answers are refused, for the lease ran out.
    Fenced,
    /// Requests are sent on to another site.
    Forwarding,
    /// It cannot run.
    Failed,
}

/// A cell of `run` as a site holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldCell {
    /// Names it for ever.
    pub uid: String,
    /// Its exit code, once ended.
    pub exit_code: Option<i32>,
    /// Why it ended, if not by itself.
    pub error: Option<String>,
    /// Processors that a program on threads was told of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u32>,
    /// Microseconds of processor time that its process took.
    #[serde(default)]
    pub cpu_us: u64,
    /// What its process has in memory.
    #[serde(default)]
    pub memory: Bytes,
    /// As it was told.
    #[serde(default)]
    pub incarnation: u32,
    /// It did nothing wrong: its worker, or another site that had ranks of it, was lost.
    #[serde(default)]
    pub lost: bool,
}

/// What the control plane asks a site to do, once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Call {
    /// Migration, 1: make an empty cell ready and listen for its state.
    Prepare {
        /// The migration.
        migration: String,
        /// The service, under the epoch that it will have here.
        assignment: Box<Assignment>,
    },
    /// Migration, 2: send the state; in the end stop and wait for the verdict.
    Transfer {
        /// The migration.
        migration: String,
        /// Which service.
        uid: String,
        /// Epoch under which it is held.
        epoch: Epoch,
        /// Where the target listens.
        address: SocketAddr,
        /// Lets the sender in, once.
        secret: String,
    },
    /// Migration, 3 at the target: the switch is stored; serve.
    Activate {
        /// The migration.
        migration: String,
    },
    /// Migration, 3 at the source: the switch is stored; forward, then drop.
    Release {
        /// The migration.
        migration: String,
        /// Where requests go from now on: the target's ingress, or its peers' listener if that
        /// speaks TLS.
        to: SocketAddr,
        /// For how long late requests are forwarded.
        forward_ms: u64,
    },
    /// The migration failed: the source serves on, the target drops what it has.
    Abort {
        /// The migration.
        migration: String,
    },
    /// What the site tells of itself.
    Metrics,
    /// Reads what a service or cell wrote to its standard error (and output, for a cell).
    Logs {
        /// Of which.
        uid: String,
        /// From this byte on.
        offset: u64,
        /// At most so many bytes.
        limit: u64,
    },
    /// Takes a step towards a layout of the ranks of an MPI program.
    Tissue {
        /// Of which.
        uid: String,
        /// Which layout.
        number: u64,
        /// What to do.
        step: crate::tissue::Step,
    },
    /// Suspends a cell or service for a moment, and takes its snapshot into the site's blobs.
    Snapshot {
        /// Of which.
        uid: String,
    },
    /// Tells what a tenant may use of the site's store, after a change if there is one.
    StoreLimits {
        /// Whose.
        tenant: String,
        /// What to change.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        change: Option<StoreChange>,
    },
}

/// A limit of a site's store becomes another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreChange {
    /// Which one.
    pub limit: policy::StoreLimit,
    /// What it is: nothing is changed if somebody has set it meanwhile. Bytes, or percent.
    pub from: u64,
    /// What it is to be.
    pub to: u64,
}

/// What a tenant may use of a site's store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreLimits {
    /// Bytes of memory for objects.
    pub memory: u64,
    /// Bytes of files on disk.
    pub disk: u64,
    /// Bytes of blocks that are kept of objects that lie outside.
    pub cache: u64,
    /// Percent of the memory above which objects move to disk in the background.
    pub high_water: u8,
}

impl StoreLimits {
    /// One of them: bytes, or percent.
    pub fn of(&self, limit: policy::StoreLimit) -> u64 {
        match limit {
            policy::StoreLimit::Memory => self.memory,
            policy::StoreLimit::Disk => self.disk,
            policy::StoreLimit::Cache => self.cache,
            policy::StoreLimit::HighWater => self.high_water.into(),
        }
    }
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Reply {
    /// Nothing to say.
    Done,
    /// The target listens.
    Prepared {
        /// Here.
        address: SocketAddr,
        /// For who shows this.
        secret: String,
    },
    /// The state has arrived whole; the source is stopped.
    Transferred(Transferred),
    /// What the site tells of itself.
    Metrics {
        /// In OpenMetrics.
        text: String,
    },
    /// A piece of a log.
    Logs {
        /// Where the piece begins; later than asked when older bytes are gone.
        offset: u64,
        /// The piece, as UTF-8 with replacements.
        text: String,
        /// Nothing more will come.
        ended: bool,
    },
    /// The snapshot is a blob of the site.
    Snapshot {
        /// Its digest.
        digest: Digest,
        /// Its size.
        size_bytes: u64,
    },
    /// What a tenant may use of the site's store now.
    StoreLimits(StoreLimits),
}

/// What a transfer cost.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Transferred {
    /// Bytes sent while the cell ran.
    pub precopy_bytes: u64,
    /// Rounds of pre-copy.
    pub rounds: u32,
    /// Bytes sent while it stood.
    pub final_bytes: u64,
    /// From the first byte to the last acknowledgement.
    pub total_us: u64,
    /// From the cell's last instruction to the target's acknowledgement.
    pub stop_us: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_added_may_be_absent_and_is_not_said_in_vain() {
        let beat = json!({"type": "beat", "sequence": 1, "held": [], "cells": []});
        let ack = json!({"type": "ack", "sequence": 1});
        let assignment = json!({
            "tenant": "default", "name": "a", "uid": "u", "epoch": 2,
            "module": Digest::from_sha256([1; 32]), "restore": true,
            "spec": serde_json::to_value(
                serde_json::from_value::<ServiceSpec>(json!({"module": "a.wasm"})).unwrap(),
            )
            .unwrap(),
        });

        let heard: FromSite = serde_json::from_value(beat.clone()).unwrap();
        let told: FromControl = serde_json::from_value(ack.clone()).unwrap();
        let wanted: Assignment = serde_json::from_value(assignment.clone()).unwrap();

        assert_eq!(serde_json::to_value(heard).unwrap(), beat);
        assert_eq!(serde_json::to_value(told).unwrap(), ack);
        assert_eq!(wanted.snapshot, None);
        assert_eq!(serde_json::to_value(wanted).unwrap(), assignment);
    }
}
