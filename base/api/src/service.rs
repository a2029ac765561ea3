//! A deployed component: a cell that answers requests.

mod metrics;

pub use metrics::Metrics;

use crate::{
    ApiError, Condition,
    mount::{self, Mount},
    onnx::{self, OnnxModel},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::SocketAddr};
use types::{Bytes, Cpu, Digest, Epoch, Period};

/// What is wanted of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceSpec {
    /// The module: `NAME.wasm@sha256:…` once uploaded. The command line uploads a local file
    /// and writes the digest behind its name.
    pub module: String,
    /// Arguments after the module's name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Environment variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Where it may run.
    #[serde(default)]
    pub placement: Placement,
    /// Objects that it sees as files, at whichever site it runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// Models that it loads by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<OnnxModel>,
    /// What it may use.
    #[serde(default)]
    pub resources: Resources,
    /// What survives a crash.
    #[serde(default)]
    pub durability: Durability,
    /// The most state, in time, that `durability: checkpoint` may lose.
    #[serde(default = "default_checkpoint_every")]
    pub checkpoint_every: Period,
    /// What happens when its site is lost.
    #[serde(default)]
    pub on_site_lost: OnSiteLost,
    /// How the module is executed.
    #[serde(default)]
    pub engine: Engine,
    /// Largest request body.
    #[serde(default = "default_max_body")]
    pub max_body: Bytes,
    /// How long one request may take inside the cell.
    #[serde(default = "default_request_timeout")]
    pub request_timeout: Period,
    /// A status page whose numbers become series.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
}

fn default_checkpoint_every() -> Period {
    Period::from_millis(5_000)
}
fn default_max_body() -> Bytes {
    Bytes(16 << 20)
}
fn default_request_timeout() -> Period {
    Period::from_millis(30_000)
}

/// Where a service may run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Placement {
    /// Exactly this site at first; a migration may move it later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// Any site that matches.
    pub sites: Selector,
    /// Which of those that have room for it.
    #[serde(skip_serializing_if = "Prefer::is_default")]
    pub prefer: Prefer,
}

/// Which of several sites is chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Prefer {
    /// Where it is expected to behave best; of those that are as good, the one with the most room.
    #[default]
    Behaviour,
    /// Where the lowest latency is expected.
    Latency,
    /// Where an hour is expected to cost least, broken service levels included.
    Cost,
    /// Where the most room is left, whatever is expected.
    Room,
}

impl Prefer {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl std::str::FromStr for Prefer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "behaviour" => Ok(Self::Behaviour),
            "latency" => Ok(Self::Latency),
            "cost" => Ok(Self::Cost),
            "room" => Ok(Self::Room),
            _ => Err(format!("`{text}` is no preference: write behaviour, latency, cost or room")),
        }
    }
}

/// Selects by labels.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Selector {
    /// All of these must be there.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
}

/// Limits of one cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Resources {
    /// Processor time.
    pub cpu: Cpu,
    /// Linear memory.
    pub memory: Bytes,
}

impl Default for Resources {
    fn default() -> Self {
        Self { cpu: Cpu(500), memory: Bytes(64 << 20) }
    }
}

/// What survives when the worker or the site dies at any line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// The state of the last checkpoint; lost request ids are named.
    #[default]
    Checkpoint,
    /// Everything that was answered. The journal does not leave its site: a site that is lost for
    /// good takes what was answered since the last checkpoint with it, as with `checkpoint`.
    Journal,
}

/// What happens to a service whose site no longer answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnSiteLost {
    /// The site serves it on by itself; it is never started elsewhere.
    #[default]
    Keep,
    /// The site serves it while its lease holds; then it is started elsewhere from the last
    /// checkpoint.
    Restart,
}

/// How a module is executed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// Compiled ahead of time to machine code.
    #[default]
    Cranelift,
    /// Compiled to a portable bytecode and interpreted.
    Pulley,
}

/// Where a service is in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// No site was chosen yet.
    #[default]
    Pending,
    /// A site is making it ready.
    Starting,
    /// It answers.
    Ready,
    /// It answers, and is being moved.
    Migrating,
    /// Its site is cut off.
    SiteLost,
    /// It cannot run; the condition says why.
    Failed,
}

/// What is known of a service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceStatus {
    /// Generation of the spec that this status answers.
    pub observed_generation: u64,
    /// Facts: `Ready`, `Placed`, `Metrics` (its status page is read).
    pub conditions: Vec<Condition>,
    /// Where it is in its life.
    pub phase: Phase,
    /// The site that holds the epoch.
    pub site: Option<String>,
    /// The one writer's number.
    pub epoch: Epoch,
    /// How often the cell was started within this epoch.
    pub incarnation: u32,
    /// Where its ingress is.
    pub address: Option<SocketAddr>,
    /// For curl and browsers.
    pub url: Option<String>,
    /// Its name in our DNS.
    pub dns_name: Option<String>,
    /// Requests answered within this incarnation.
    pub requests_answered: u64,
    /// When its site counted these, in milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted_at: Option<u64>,
    /// Microseconds of processor time that they took.
    pub cpu_us: u64,
    /// Bytes of the cell's linear memory.
    pub memory: Bytes,
    /// Milliseconds since the Unix epoch of the last checkpoint.
    pub last_checkpoint: Option<u64>,
    /// Requests whose effects were lost in crashes, latest first, bounded.
    pub lost: Vec<Lost>,
    /// A migration in progress.
    pub migration: Option<Migration>,
    /// Names of the decisions about it, latest first, bounded.
    pub decisions: Vec<String>,
    /// Where it went on from after its site was lost, latest last, bounded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub takeovers: Vec<Takeover>,
    /// The snapshot that a user last put it back to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restored: Option<Restored>,
}

/// An epoch that went on from a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Takeover {
    /// The epoch.
    pub epoch: Epoch,
    /// The checkpoint.
    pub from: crate::link::Stamp,
}

/// A snapshot that a user put a service back to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Restored {
    /// The epoch that began with it; older ones are over, their checkpoints included.
    pub epoch: Epoch,
    /// The snapshot, a blob of the control plane.
    pub digest: Digest,
    /// The module that it is of.
    pub module: Digest,
    /// Milliseconds since the Unix epoch.
    pub at: u64,
}

/// What one crash, or the loss of a site, lost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lost {
    /// Epoch that lost them.
    pub epoch: Epoch,
    /// Incarnation that lost them.
    pub incarnation: u32,
    /// Milliseconds since the Unix epoch of the discovery.
    pub at: u64,
    /// How many answered requests left no trace.
    pub count: u64,
    /// Their ids, the first 1,000.
    pub request_ids: Vec<String>,
}

/// A migration in progress, recorded before its first step so that a new control plane can end it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Migration {
    /// Names this attempt on both sites.
    pub id: String,
    /// The site that serves.
    pub from: String,
    /// The site that will.
    pub to: String,
    /// The epoch that the target serves under once committed.
    pub epoch: Epoch,
    /// Milliseconds since the Unix epoch.
    pub started: u64,
    /// The decision that records it.
    pub decision: String,
}

impl ServiceSpec {
    /// The digest behind the module's name, when it was uploaded.
    pub fn module_digest(&self) -> Option<Digest> {
        self.module.rsplit_once('@')?.1.parse().ok()
    }

    /// The module's name without its digest.
    pub fn module_name(&self) -> &str {
        self.module.rsplit_once('@').map_or(&self.module, |(name, _)| name)
    }

    /// Checks values that the types cannot.
    ///
    /// # Errors
    /// [`ApiError::Value`] names the field and what is allowed.
    pub fn check(&self) -> Result<(), ApiError> {
        let value = |field, reason: &str| Err(ApiError::Value { field, reason: reason.into() });
        if self.module_name().is_empty() {
            return value("module", "name a `.wasm` file");
        }
        mount::check(&self.mounts)?;
        onnx::check(&self.models)?;
        if !self.mounts.is_empty() && self.durability == Durability::Journal {
            let reason = "a journal is replayed, and objects are no longer as they were: with `mounts` use `checkpoint`";
            return value("durability", reason);
        }
        if !self.models.is_empty() && self.durability == Durability::Journal {
            let reason = "a journal is replayed, and another file would answer otherwise: with `models` use `checkpoint`";
            return value("durability", reason);
        }
        if self.resources.memory < Bytes(64 << 10) || self.resources.memory > Bytes(4 << 30) {
            return value("resources.memory", "from `64Ki` to `4Gi`");
        }
        if self.resources.cpu == Cpu(0) {
            return value("resources.cpu", "more than none");
        }
        if self.checkpoint_every < Period::from_millis(10) {
            return value("checkpointEvery", "at least `10ms`");
        }
        if self.max_body > Bytes(1 << 30) {
            return value("maxBody", "at most `1Gi`");
        }
        if self.request_timeout == Period::default() {
            return value("requestTimeout", "more than none");
        }
        self.metrics.as_ref().map_or(Ok(()), Metrics::check)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Resource;

    #[test]
    fn the_documented_yaml_is_a_service() {
        let yaml = "
apiVersion: cloudskin.eu/v1alpha1
kind: Service
metadata: {name: street-counter, labels: {app: video-analytics}}
spec:
  module: street-counter.wasm
  placement: {sites: {matchLabels: {tier: edge}}}
  resources: {cpu: 500m, memory: 64Mi}
  durability: checkpoint
  checkpointEvery: 5s
  onSiteLost: restart
";
        let mut resource: Resource = serde_saphyr::from_str(yaml).unwrap();

        resource.check().unwrap();

        assert_eq!(resource.metadata.tenant, "default");
        let spec: ServiceSpec = resource.spec().unwrap();
        assert_eq!(spec.resources.memory, Bytes(64 << 20));
        assert_eq!(spec.on_site_lost, OnSiteLost::Restart);
        assert_eq!(spec.module_digest(), None);
    }

    #[test]
    fn unknown_fields_and_bad_values_are_named() {
        let check = |spec: serde_json::Value| {
            Resource::new(crate::Kind::Service, "default", "a", &spec)
                .check()
                .map_err(|error| types::chain(&error))
        };

        let unknown = check(serde_json::json!({"module": "a.wasm", "replica": 2})).unwrap_err();
        let tiny =
            check(serde_json::json!({"module": "a.wasm", "resources": {"memory": 1}})).unwrap_err();

        let mounts = serde_json::json!([{"source": "geds://lab", "path": "/data"}]);
        let replayed =
            serde_json::json!({"module": "a.wasm", "mounts": mounts, "durability": "journal"});
        check(serde_json::json!({"module": "a.wasm", "mounts": mounts})).unwrap();
        assert!(check(replayed).unwrap_err().contains("durability"));
        let models = |names: &[&str]| -> serde_json::Value {
            let one = |name: &&str| serde_json::json!({"name": name, "file": "a.onnx"});
            names.iter().map(one).collect()
        };
        let with = |models: serde_json::Value| {
            check(serde_json::json!({"module": "a.wasm", "models": models}))
        };
        with(models(&["a", "b"])).unwrap();
        assert!(with(models(&["a", "a"])).unwrap_err().contains("two models"));
        assert!(with(models(&[""])).unwrap_err().contains("models.name"));
        let replayed = serde_json::json!({"module": "a.wasm", "models": models(&["a"]), "durability": "journal"});
        assert!(check(replayed).unwrap_err().contains("with `models` use `checkpoint`"));
        assert!(unknown.contains("replica"), "{unknown}");
        assert!(tiny.contains("resources.memory"), "{tiny}");
    }
}
