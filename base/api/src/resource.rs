//! The envelope that every resource has.

use crate::{ApiError, block, cell, decision, model, policy, service, site};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::{collections::BTreeMap, fmt, str::FromStr};
use types::check_name;

/// The version of all resources.
pub const API_VERSION: &str = "cloudskin.eu/v1alpha1";

/// The tenant of those who name none.
pub const DEFAULT_TENANT: &str = "default";

/// What a resource is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// A place with compute.
    Site,
    /// A packaged application.
    Block,
    /// A deployed component.
    Service,
    /// One running Wasm unit.
    Cell,
    /// The cells of one run of a parallel program.
    Tissue,
    /// A declared rule that watches a service.
    Policy,
    /// A trained model of the catalog.
    Model,
    /// One recorded choice.
    Decision,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Site,
        Self::Block,
        Self::Service,
        Self::Cell,
        Self::Tissue,
        Self::Policy,
        Self::Model,
        Self::Decision,
    ];

    /// The kind as REST paths and the command line write it: `service`.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Site => "site",
            Self::Block => "block",
            Self::Service => "service",
            Self::Cell => "cell",
            Self::Tissue => "tissue",
            Self::Policy => "policy",
            Self::Model => "model",
            Self::Decision => "decision",
        }
    }

    /// All kinds in one line, for messages.
    pub(crate) fn names() -> String {
        Self::ALL.map(|kind| format!("`{kind}`")).join(", ")
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl FromStr for Kind {
    type Err = ApiError;

    /// Takes `Service`, `service` and `services`, and `policies`.
    fn from_str(text: &str) -> Result<Self, ApiError> {
        let lower = text.to_ascii_lowercase();
        Self::ALL
            .into_iter()
            .find(|kind| {
                let path = kind.path();
                let plural = match path.strip_suffix('y') {
                    Some(stem) => lower.strip_suffix("ies") == Some(stem),
                    None => lower.strip_suffix('s') == Some(path),
                };
                lower == path || plural
            })
            .ok_or_else(|| ApiError::Kind(text.chars().take(80).collect()))
    }
}

/// A resource of any kind; `spec` and `status` are typed by [`Resource::spec`] and
/// [`Resource::status`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resource {
    /// Always [`API_VERSION`].
    pub api_version: String,
    /// What it is.
    pub kind: Kind,
    /// Whose it is and how it is called.
    pub metadata: Metadata,
    /// What is wanted.
    #[serde(default = "empty")]
    pub spec: Value,
    /// What is.
    #[serde(default = "empty")]
    pub status: Value,
}

fn empty() -> Value {
    Value::Object(serde_json::Map::new())
}

/// Whose a resource is and how it is called.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Metadata {
    /// The owner; `default` when absent.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tenant: String,
    /// Unique per tenant and kind.
    pub name: String,
    /// Unique for ever; set by the control plane.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// For selection.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// For tools.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The store's revision of the last change; a given one must match on apply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<u64>,
    /// Counts the changes of `spec`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creation_timestamp: Option<u64>,
    /// Milliseconds since the Unix epoch; set while the resource is being taken down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<u64>,
    /// Who must act before the resource goes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub finalizers: Vec<String>,
    /// Uids of the resources that this one goes with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub owner_references: Vec<String>,
}

/// One observed fact about a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Which fact: `Ready`, `Placed`, `Migrating`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it holds.
    pub status: bool,
    /// One word for programs.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
    /// Milliseconds since the Unix epoch of the last change of `status`.
    pub last_transition_time: u64,
}

impl Resource {
    /// A new resource with this spec, not yet stored.
    ///
    /// # Panics
    /// If the spec cannot be written as JSON, which none of ours is.
    pub fn new(kind: Kind, tenant: &str, name: &str, spec: &impl Serialize) -> Self {
        Self {
            api_version: API_VERSION.into(),
            kind,
            metadata: Metadata { tenant: tenant.into(), name: name.into(), ..Metadata::default() },
            spec: serde_json::to_value(spec).expect("a spec is plain data"),
            status: empty(),
        }
    }

    /// The spec as the kind's type.
    ///
    /// # Errors
    /// [`ApiError::Spec`] names the field that does not fit.
    pub fn spec<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        T::deserialize(&self.spec).map_err(|source| ApiError::Spec {
            kind: self.kind,
            name: self.metadata.name.clone(),
            source,
        })
    }

    /// The status as the kind's type; the default while nothing has been observed, or where what
    /// is stored was written by another version.
    pub fn status<T: DeserializeOwned + Default>(&self) -> T {
        T::deserialize(&self.status).unwrap_or_default()
    }

    /// Replaces the status.
    ///
    /// # Panics
    /// If the status cannot be written as JSON, which none of ours is.
    pub fn set_status(&mut self, status: &impl Serialize) {
        self.status = serde_json::to_value(status).expect("a status is plain data");
    }

    /// Fills in the defaults and checks everything that can be checked without the store.
    ///
    /// # Errors
    /// [`ApiError`] says what is wrong with the document.
    pub fn check(&mut self) -> Result<(), ApiError> {
        if self.api_version != API_VERSION {
            return Err(ApiError::Version { found: self.api_version.clone() });
        }
        if self.metadata.tenant.is_empty() {
            DEFAULT_TENANT.clone_into(&mut self.metadata.tenant);
        }
        check_name(&self.metadata.tenant)
            .map_err(|source| ApiError::Name { field: "tenant", source })?;
        check_name(&self.metadata.name)
            .map_err(|source| ApiError::Name { field: "name", source })?;
        match self.kind {
            Kind::Site => self.spec::<site::SiteSpec>()?.check(),
            Kind::Block => self.spec::<block::BlockSpec>()?.check(),
            Kind::Service => self.spec::<service::ServiceSpec>()?.check(),
            Kind::Cell | Kind::Tissue => {
                self.spec::<cell::CellSpec>()?.check(self.kind == Kind::Tissue)
            }
            Kind::Policy => self.spec::<policy::PolicySpec>()?.check(),
            Kind::Model => self.spec::<model::ModelSpec>()?.check(),
            Kind::Decision => self.spec::<decision::DecisionSpec>().map(drop),
        }
    }
}

/// The answer to a list request.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct List {
    /// The store's revision that the list shows; watch from here.
    pub resource_version: u64,
    /// In order of name.
    pub items: Vec<Resource>,
}

/// One change, as a server-sent event; its `id:` is [`WatchEvent::revision`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WatchEvent {
    /// The revision that made the change.
    pub revision: u64,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: WatchKind,
    /// The resource after the change, or as it last was.
    pub resource: Resource,
}

/// What happened to a watched resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum WatchKind {
    /// It is new or changed.
    Applied,
    /// It is gone.
    Deleted,
}
