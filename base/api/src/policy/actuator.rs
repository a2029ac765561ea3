//! What is done when a policy says so.

use super::{Function, expression, millis, require};
use crate::{ApiError, service::Selector};
use serde::{Deserialize, Serialize};
use types::{Bytes, Cpu, Period, check_name};

/// What is done when a policy says go, and, where a condition stands with it, when that holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Actuator {
    /// The service moves.
    Migrate,
    /// A condition of the policy and a line in the log say so.
    Notify,
    /// Somebody else is told.
    Webhook(Webhook),
    /// A function of the policy's Python is called with the decision.
    Python(Function),
    /// The service, or a program beside it, gets more or fewer processors.
    Scale(Scale),
    /// The service may be at other sites from now on.
    Place(Place),
    /// A site's store may use more or less.
    Store(Store),
    /// Another orchestrator moves its application.
    Nbi(Nbi),
}

/// Who is told of a decision, as a JSON `POST`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Webhook {
    /// `http://` or `https://` and an address.
    pub url: String,
    /// Certificates in PEM of who may vouch for the other side; the machine's own if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// How long an answer may take.
    #[serde(default = "default_timeout")]
    pub timeout: Period,
    /// How often it is tried again.
    #[serde(default = "default_retries")]
    pub retries: u32,
    /// The key of the signature `Cloudskin-Signature: sha256=…`, an HMAC of the body. Whoever may
    /// read the policy sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// Processor time that follows conditions, in steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scale {
    /// A program on threads that is scaled in the service's place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tissue: Option<String>,
    /// It gets a step more while this holds; the policy's alarm if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up: Option<String>,
    /// It gets a step less while this holds and `up` does not; never if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub down: Option<String>,
    /// The least that it has.
    pub min: Cpu,
    /// The most that it has.
    pub max: Cpu,
    /// One step.
    pub step: Cpu,
    /// Between two steps, at least.
    #[serde(default = "default_cool_down")]
    pub cool_down: Period,
}

/// Sites that the service may be at, while a condition holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Place {
    /// When; the policy's alarm if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// `placement.sites` of the service from then on.
    pub sites: Selector,
}

/// A limit of a site's store that follows conditions, in steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Store {
    /// Whose; of the site where the service is if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// Which one, of what the policy's tenant may use there.
    pub limit: StoreLimit,
    /// It gets a step more while this holds; the policy's alarm if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up: Option<String>,
    /// It gets a step less while this holds and `up` does not; never if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub down: Option<String>,
    /// The least: bytes, or percent.
    pub min: Bytes,
    /// The most.
    pub max: Bytes,
    /// One step.
    pub step: Bytes,
    /// Between two steps, at least.
    #[serde(default = "default_cool_down")]
    pub cool_down: Period,
}

/// What a tenant may use of a site's store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StoreLimit {
    /// Bytes of memory for objects.
    Memory,
    /// Bytes of files on disk.
    Disk,
    /// Bytes of blocks that are kept of objects that lie outside.
    Cache,
    /// Percent of the memory above which objects move to disk in the background.
    HighWater,
}

impl std::fmt::Display for StoreLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Cache => "cache",
            Self::HighWater => "high-water mark",
        })
    }
}

/// An application of another orchestrator that has NearbyOne's northbound interface.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Nbi {
    /// Where it is: `https://nbi.example.org`.
    pub url: String,
    /// The organization, as the header `x-org` and the login name it.
    pub org: String,
    /// Who logs in. Without one nobody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<Login>,
    /// The application: its service chains are called `<app> - <site>`.
    pub app: String,
    /// The block chart that is deployed.
    pub block_chart: String,
    /// Its version.
    pub block_chart_version: String,
    /// What it is deployed with, in YAML.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<String>,
    /// The other orchestrator's id of each site that the application may go to, by our name.
    pub sites: std::collections::BTreeMap<String, String>,
    /// Certificates in PEM of who may vouch for the other side; the machine's own if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// How long one answer may take.
    #[serde(default = "default_timeout")]
    pub timeout: Period,
    /// How long the application may take to be in sync where it goes; then it stays where it was.
    #[serde(default = "default_ready")]
    pub ready_within: Period,
    /// How often a step is tried again.
    #[serde(default = "default_retries")]
    pub retries: u32,
}

/// Who logs in. Whoever may read the policy sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The user's name.
    pub identifier: String,
    /// The user's password.
    pub password: String,
}

fn default_timeout() -> Period {
    Period::from_millis(5_000)
}
fn default_retries() -> u32 {
    3
}
fn default_cool_down() -> Period {
    Period::from_millis(300_000)
}
fn default_ready() -> Period {
    Period::from_millis(300_000)
}

/// Longest list of certificates, in bytes.
const CA_MAX_BYTES: usize = 64 << 10;

impl Actuator {
    pub(super) fn check(&self) -> Result<(), ApiError> {
        match self {
            Self::Migrate | Self::Notify => Ok(()),
            Self::Webhook(webhook) => webhook.check(),
            Self::Python(function) => function.check("actuators.python"),
            Self::Scale(scale) => scale.check(),
            Self::Place(place) => when("actuators.place.when", place.when.as_deref()),
            Self::Store(store) => store.check(),
            Self::Nbi(nbi) => nbi.check(),
        }
    }
}

impl Webhook {
    fn check(&self) -> Result<(), ApiError> {
        let sample = "an address such as `https://example.org/moved`";
        require(is_url(&self.url), "actuators.webhook.url", sample)?;
        certificates("actuators.webhook.ca", self.ca.as_deref())?;
        patience("actuators.webhook.timeout", self.timeout, 60_000)?;
        require(self.retries <= 10, "actuators.webhook.retries", "at most 10")
    }
}

impl Scale {
    fn check(&self) -> Result<(), ApiError> {
        let fits = Cpu(0) < self.min && self.min < self.max && self.max <= Cpu(1_024_000);
        require(fits, "actuators.scale.min", "more than none, and less than `max`")?;
        require(self.step > Cpu(0), "actuators.scale.step", "more than none, as `250m`")?;
        if let Some(tissue) = &self.tissue {
            check_name(tissue).map_err(|error| ApiError::Value {
                field: "actuators.scale.tissue",
                reason: error.to_string(),
            })?;
            let whole =
                [self.min, self.max, self.step].iter().all(|cpu| cpu.0.is_multiple_of(1000));
            require(whole, "actuators.scale.step", "whole processors for a tissue")?;
        }
        patience("actuators.scale.coolDown", self.cool_down, 86_400_000)?;
        when("actuators.scale.up", self.up.as_deref())?;
        when("actuators.scale.down", self.down.as_deref())
    }
}

impl Store {
    fn check(&self) -> Result<(), ApiError> {
        let least = match self.limit {
            StoreLimit::Cache | StoreLimit::Disk => Bytes(0),
            StoreLimit::Memory | StoreLimit::HighWater => Bytes(1),
        };
        let fits = least <= self.min && self.min < self.max;
        require(fits, "actuators.store.min", "more than none, and less than `max`")?;
        if self.limit == StoreLimit::HighWater {
            let sample = "percent of the memory, at most 100";
            require(self.max <= Bytes(100), "actuators.store.max", sample)?;
        }
        require(self.step > Bytes(0), "actuators.store.step", "more than none, as `64Mi`")?;
        if let Some(site) = &self.site {
            check_name(site).map_err(|error| ApiError::Value {
                field: "actuators.store.site",
                reason: error.to_string(),
            })?;
        }
        patience("actuators.store.coolDown", self.cool_down, 86_400_000)?;
        when("actuators.store.up", self.up.as_deref())?;
        when("actuators.store.down", self.down.as_deref())
    }
}

impl Nbi {
    fn check(&self) -> Result<(), ApiError> {
        let sample = "an address such as `https://nbi.example.org`";
        require(is_url(&self.url), "actuators.nbi.url", sample)?;
        let named = [&self.org, &self.app, &self.block_chart, &self.block_chart_version];
        let fits = |text: &&String| (1..=256).contains(&text.len());
        require(named.iter().all(fits), "actuators.nbi", "names of 1 to 256 bytes")?;
        let few = (1..=64).contains(&self.sites.len());
        require(few, "actuators.nbi.sites", "from 1 to 64: our name of a site, and its id there")?;
        let values = self.values.as_ref().is_none_or(|values| values.len() <= CA_MAX_BYTES);
        require(values, "actuators.nbi.values", "at most 64 KiB")?;
        certificates("actuators.nbi.ca", self.ca.as_deref())?;
        patience("actuators.nbi.timeout", self.timeout, 60_000)?;
        patience("actuators.nbi.readyWithin", self.ready_within, 3_600_000)?;
        require(self.retries <= 10, "actuators.nbi.retries", "at most 10")
    }
}

fn is_url(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let plain = url.len() <= 2048 && url.bytes().all(|byte| byte.is_ascii_graphic());
    plain && rest.is_some_and(|rest| !rest.is_empty())
}

fn certificates(field: &'static str, ca: Option<&str>) -> Result<(), ApiError> {
    let fits = ca
        .is_none_or(|pem| pem.len() <= CA_MAX_BYTES && pem.contains("-----BEGIN CERTIFICATE-----"));
    require(fits, field, "certificates in PEM, at most 64 KiB")
}

fn patience(field: &'static str, period: Period, most_ms: u64) -> Result<(), ApiError> {
    let fits = (1..=most_ms).contains(&millis(period));
    require(fits, field, &format!("more than none, at most `{}`", Period::from_millis(most_ms)))
}

fn when(field: &'static str, text: Option<&str>) -> Result<(), ApiError> {
    text.map_or(Ok(()), |text| expression(field, text))
}
