//! What is kept of a version beside the model itself.

use crate::{
    Stretch,
    forecast::Ahead,
    model::{Method, Score, Target, federated::Lineage},
};
use serde::{Deserialize, Serialize};

/// What a version is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// It may be promoted.
    #[default]
    Candidate,
    /// It is used.
    Production,
    /// It was used.
    Retired,
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Candidate => "candidate",
            Self::Production => "production",
            Self::Retired => "retired",
        })
    }
}

/// A stretch of a trace, so that another one is told from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Data {
    /// BLAKE3 of its samples.
    pub digest: String,
    /// Unix time of the first sample in seconds.
    pub from_s: i64,
    /// Of the sample after the last.
    pub to_s: i64,
    /// Seconds from one sample to the next.
    pub step_s: u32,
    /// The names of the sites.
    pub sites: Vec<String>,
}

impl Data {
    /// Of several sites, each with stretches of its own.
    pub fn of_sites(each: &[(&str, Self)]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for (site, data) in each {
            hasher.update(site.as_bytes());
            hasher.update(data.digest.as_bytes());
        }
        Self {
            digest: hasher.finalize().to_hex().to_string(),
            from_s: each.iter().map(|(_, data)| data.from_s).min().unwrap_or_default(),
            to_s: each.iter().map(|(_, data)| data.to_s).max().unwrap_or_default(),
            step_s: each.first().map_or(0, |(_, data)| data.step_s),
            sites: each.iter().map(|(site, _)| (*site).to_owned()).collect(),
        }
    }

    /// The fingerprint of a stretch.
    pub fn of(stretch: &Stretch) -> Self {
        let (trace, span) = (stretch.trace, stretch.span.clone());
        let mut hasher = blake3::Hasher::new();
        let span = span.start.min(trace.len())..span.end.min(trace.len());
        let time = |at: usize| trace.start_s + at as i64 * i64::from(trace.step_s);
        hasher.update(&time(span.start).to_le_bytes());
        hasher.update(&trace.step_s.to_le_bytes());
        for site in &trace.sites {
            hasher.update(site.name.as_bytes());
            for sample in &site.samples[span.clone()] {
                // What was not measured is no value that can be.
                for value in [sample.latency_ms, sample.cpu] {
                    hasher.update(&value.unwrap_or(f64::NAN).to_le_bytes());
                }
            }
        }
        Self {
            digest: hasher.finalize().to_hex().to_string(),
            from_s: time(span.start),
            to_s: time(span.end),
            step_s: trace.step_s,
            sites: trace.sites.iter().map(|site| site.name.clone()).collect(),
        }
    }
}

/// How a version came to be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Made {
    /// Unix time in seconds.
    pub at_s: i64,
    /// How long training took, all of it.
    pub seconds: f64,
    /// The most memory that the process had, in bytes.
    pub peak_bytes: u64,
    /// Moments that were learned from; 0 where it is not known.
    #[serde(default)]
    pub rows: u64,
    /// Settings that were tried.
    pub searched: usize,
    /// What randomness was drawn from.
    pub seed: u64,
    /// The file that it was imported from; trained here if empty.
    pub imported: String,
    /// Why it was trained, if not by a user: a drift, as a sentence.
    #[serde(default)]
    pub because: String,
}

/// How it and the version in production did on the same data, which neither had seen, when it was made.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Beside {
    /// The version that was in production.
    pub against: u32,
    /// The root mean square error of the new one.
    pub rmse: f64,
    /// That of the one in production.
    pub current_rmse: f64,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The model's name.
    pub name: String,
    /// The version's number, from 1.
    pub id: u32,
    /// What it is for now; what a file says of it does not count.
    #[serde(default)]
    pub stage: Stage,
    /// How it was trained.
    pub method: Method,
    /// What it predicts.
    pub target: Target,
    /// Of which stretch ahead, in seconds.
    pub ahead: Ahead,
    /// Seconds from one moment that was learned from to the next.
    pub every_s: u32,
    /// What it was trained on.
    pub trained: Data,
    /// What it was tested on, which it had not seen.
    pub tested: Data,
    /// How good it was there.
    pub score: Score,
    /// The root mean square error there of who says that all stays as it is; not known of versions of an earlier
    /// release.
    #[serde(default)]
    pub naive_rmse: Option<f64>,
    /// How it did beside the version in production; nothing where both were not tested together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<Beside>,
    /// The version that was in production when it was made.
    pub parent: Option<u32>,
    /// How it came to be.
    pub made: Made,
    /// The size of the model.
    pub model_bytes: u64,
    /// Whose data it was trained on where they are; nothing if in one place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub federated: Option<Lineage>,
}
