//! Training where the data are: sites send what a model is made of, never what they measured.
//!
//! A coordinator asks all sites the same, in rounds, and joins their answers, weighted by their rows:
//!
//! - ridge and polynomial: sums and products of columns. What comes out is the model that training
//!   on all rows in one place would make.
//! - gbm: in each round each site grows a tree on what is left of its own truths, and all are added.
//! - lstm: each site goes once over its own moments from common weights, which are averaged
//!   (H. B. McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized
//!   Data", AISTATS 2017), each step clipped to the usual length.
//!
//! A forest is not trained so: a tree that knows one site alone says nothing of another, and nothing
//! corrects it.
//!
//! An answer that is no answer (no numbers, another shape) or far from all others costs its site the
//! part in the training, with the reason; training then begins again without it. A site that lies
//! within what is plausible is not found out.

mod attempt;
mod check;
mod local;
mod merge;
#[cfg(test)]
mod tests;

use super::{Examples, Method, Trained};
use crate::{Error, Result};
use local::Local;
use serde::{Deserialize, Serialize};

/// Sites of one training.
pub const SITES_MAX: usize = 256;

/// What is at one site.
#[derive(Debug, Clone, Copy)]
pub struct Party<'a> {
    /// The site's name.
    pub site: &'a str,
    /// What it measured.
    pub examples: &'a Examples<'a>,
}

/// A site that had a part in a training.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The site's name.
    pub site: String,
    /// Rows that it learned from.
    pub rows: u64,
}

/// A site whose answers were not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The site's name.
    pub site: String,
    /// What was wrong.
    pub why: String,
}

/// How a model came to be of several sites' data.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    /// Whose data are in it.
    pub parts: Vec<Part>,
    /// Whose are not.
    pub refused: Vec<Refused>,
    /// How often all sites were asked.
    pub rounds: u32,
    /// Bytes that sites sent, of numbers with eight each.
    pub sent_bytes: u64,
}

/// Trains a model of several sites' data that stay where they are.
///
/// # Errors
/// A kind that is not trained so, fewer than two sites that can be used, sites that do not measure
/// alike, and as of the kind's own fit.
pub fn train(parties: &[Party], method: Method, seed: u64) -> Result<(Trained, Lineage)> {
    let Some(first) = parties.first() else {
        return Err(Error::Unfit("there are no sites to train at".into()));
    };
    if parties.len() > SITES_MAX {
        let what = format!("{} sites", parties.len());
        return Err(Error::TooMuch { what, limit: SITES_MAX as u64 });
    }
    for party in parties {
        let (one, other) = (party.examples, first.examples);
        let alike = one.features == other.features
            && one.question == other.question
            && one.is_pair() == other.is_pair();
        if !alike {
            let text = format!(
                "`{}` does not measure as `{}` does: traces need the same step and number of sites",
                party.site, first.site
            );
            return Err(Error::Unfit(text));
        }
    }
    let sites =
        parties.iter().map(|party| Box::new(Local::new(party)) as Box<dyn local::Site + '_>);
    attempt::trained(sites.collect(), first.examples, method, seed)
}
