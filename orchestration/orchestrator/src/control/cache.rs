//! What the store holds, typed and in memory.
//!
//! This process is the store's only writer, so every change passes through
//! [`Cache::take`]; the store stays the truth, and every write compares revisions.

use super::{Error, Result, owed::Owed};
use api::{
    Kind, Resource,
    block::{BlockSpec, BlockStatus},
    cell::{CellSpec, CellStatus},
    model::{ModelSpec, ModelStatus},
    policy::{PolicySpec, PolicyStatus},
    service::{ServiceSpec, ServiceStatus},
    site::{SiteSpec, SiteStatus},
};
use serde::de::DeserializeOwned;
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
};
use types::Epoch;

/// Names a resource in this process.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Id {
    pub(super) tenant: String,
    pub(super) name: String,
}

impl Id {
    pub(super) fn new(tenant: &str, name: &str) -> Self {
        Self { tenant: tenant.to_owned(), name: name.to_owned() }
    }

    pub(super) fn of(resource: &Resource) -> Self {
        Self::new(&resource.metadata.tenant, &resource.metadata.name)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.name)
    }
}

/// A resource with its typed halves.
#[derive(Debug, Clone)]
pub(super) struct Typed<S, T> {
    pub(super) resource: Resource,
    pub(super) spec: S,
    pub(super) status: T,
}

pub(super) type Service = Typed<ServiceSpec, ServiceStatus>;
pub(super) type Site = Typed<SiteSpec, SiteStatus>;
pub(super) type Cell = Typed<CellSpec, CellStatus>;
pub(super) type Block = Typed<BlockSpec, BlockStatus>;
pub(super) type Policy = Typed<PolicySpec, PolicyStatus>;
pub(super) type Model = Typed<ModelSpec, ModelStatus>;

impl<S: DeserializeOwned, T: DeserializeOwned + Default> Typed<S, T> {
    pub(super) fn read(resource: &Resource) -> Result<Self> {
        Ok(Self { spec: resource.spec()?, status: resource.status(), resource: resource.clone() })
    }
}

impl<S, T> Typed<S, T> {
    pub(super) fn id(&self) -> Id {
        Id::of(&self.resource)
    }

    pub(super) fn uid(&self) -> &str {
        &self.resource.metadata.uid
    }

    pub(super) fn deleting(&self) -> bool {
        self.resource.metadata.deletion_timestamp.is_some()
    }

    pub(super) fn generation(&self) -> u64 {
        self.resource.metadata.generation.unwrap_or_default()
    }
}

impl<S, T: serde::Serialize> Typed<S, T> {
    /// The resource with another status, ready to be written.
    pub(super) fn with_status(&self, status: &T) -> Resource {
        let mut resource = self.resource.clone();
        resource.set_status(status);
        resource
    }
}

/// One change that the store has made.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Put(Box<Resource>),
    Gone(Kind, Id),
    Issued(String, Epoch),
    Owed(String, Box<Owed>),
    Settled(String),
}

/// Everything that the store holds.
#[derive(Debug, Default)]
pub(super) struct Cache {
    pub(super) services: BTreeMap<Id, Arc<Service>>,
    pub(super) sites: BTreeMap<String, Arc<Site>>,
    pub(super) cells: BTreeMap<Id, Arc<Cell>>,
    pub(super) tissues: BTreeMap<Id, Arc<Cell>>,
    pub(super) blocks: BTreeMap<Id, Arc<Block>>,
    pub(super) policies: BTreeMap<Id, Arc<Policy>>,
    pub(super) models: BTreeMap<String, Arc<Model>>,
    /// Per tenant, oldest first.
    pub(super) decisions: BTreeMap<Id, ()>,
    /// The highest epoch ever given out, by the service's uid.
    pub(super) issued: HashMap<String, Epoch>,
    /// Calls that sites have not answered yet, in the order in which they came to be.
    pub(super) owed: BTreeMap<String, Owed>,
    /// The latest revision seen.
    pub(super) revision: u64,
    /// Which revision removed a resource: a write that was overtaken must not bring it back.
    gone: HashMap<(Kind, Id), u64>,
}

impl Cache {
    /// Everything that runs once: cells and tissues.
    pub(super) fn runs(&self) -> impl Iterator<Item = &Arc<Cell>> {
        self.cells.values().chain(self.tissues.values())
    }

    /// Takes over what revision `revision` changed.
    pub(super) fn take(&mut self, revision: u64, changes: Vec<Change>) -> Result<()> {
        self.revision = self.revision.max(revision);
        for change in changes {
            match change {
                Change::Put(resource) => self.put(revision, *resource)?,
                Change::Gone(kind, id) => self.remove(revision, kind, id),
                Change::Issued(uid, epoch) => {
                    let issued = self.issued.entry(uid).or_default();
                    *issued = epoch.max(*issued);
                }
                Change::Owed(key, owed) => drop(self.owed.insert(key, *owed)),
                Change::Settled(key) => drop(self.owed.remove(&key)),
            }
        }
        Ok(())
    }

    fn put(&mut self, revision: u64, mut resource: Resource) -> Result<()> {
        let (kind, id) = (resource.kind, Id::of(&resource));
        let known = self.revision_of(kind, &id);
        if known > revision {
            return Ok(());
        }
        resource.metadata.resource_version = Some(revision);
        self.gone.remove(&(kind, id.clone()));
        match kind {
            Kind::Service => drop(self.services.insert(id, Arc::new(Typed::read(&resource)?))),
            Kind::Site => drop(self.sites.insert(id.name, Arc::new(Typed::read(&resource)?))),
            Kind::Cell => drop(self.cells.insert(id, Arc::new(Typed::read(&resource)?))),
            Kind::Tissue => drop(self.tissues.insert(id, Arc::new(Typed::read(&resource)?))),
            Kind::Block => drop(self.blocks.insert(id, Arc::new(Typed::read(&resource)?))),
            Kind::Policy => drop(self.policies.insert(id, Arc::new(Typed::read(&resource)?))),
            Kind::Model => drop(self.models.insert(id.name, Arc::new(Typed::read(&resource)?))),
            Kind::Decision => drop(self.decisions.insert(id, ())),
        }
        Ok(())
    }

    fn remove(&mut self, revision: u64, kind: Kind, id: Id) {
        if self.revision_of(kind, &id) > revision {
            return;
        }
        match kind {
            Kind::Service => {
                if let Some(service) = self.services.remove(&id) {
                    self.issued.remove(service.uid());
                }
            }
            Kind::Site => drop(self.sites.remove(&id.name)),
            Kind::Cell => drop(self.cells.remove(&id)),
            Kind::Tissue => drop(self.tissues.remove(&id)),
            Kind::Block => drop(self.blocks.remove(&id)),
            Kind::Policy => drop(self.policies.remove(&id)),
            Kind::Model => drop(self.models.remove(&id.name)),
            Kind::Decision => drop(self.decisions.remove(&id)),
        }
        // Overtaken writes are moments old: what is older than the last thousand cannot matter.
        if self.gone.len() > 1000 {
            self.gone.retain(|_, removed| *removed + 1000 > revision);
        }
        if kind != Kind::Decision {
            self.gone.insert((kind, id), revision);
        }
    }

    fn revision_of(&self, kind: Kind, id: &Id) -> u64 {
        let resource = match kind {
            Kind::Service => self.services.get(id).map(|typed| &typed.resource),
            Kind::Site => self.sites.get(&id.name).map(|typed| &typed.resource),
            Kind::Cell => self.cells.get(id).map(|typed| &typed.resource),
            Kind::Tissue => self.tissues.get(id).map(|typed| &typed.resource),
            Kind::Block => self.blocks.get(id).map(|typed| &typed.resource),
            Kind::Policy => self.policies.get(id).map(|typed| &typed.resource),
            Kind::Model => self.models.get(&id.name).map(|typed| &typed.resource),
            Kind::Decision => None,
        };
        match resource {
            Some(resource) => resource.metadata.resource_version.unwrap_or_default(),
            None => self.gone.get(&(kind, id.clone())).copied().unwrap_or_default(),
        }
    }

    /// The service with this uid.
    pub(super) fn service_by_uid(&self, uid: &str) -> Option<&Arc<Service>> {
        self.services.values().find(|service| service.uid() == uid)
    }

    /// The highest epoch ever given out for a service.
    pub(super) fn issued(&self, service: &Service) -> Epoch {
        let issued = self.issued.get(service.uid()).copied().unwrap_or_default();
        issued.max(service.status.epoch)
    }

    /// Whether `site` is owed a call about this service.
    pub(super) fn owes(&self, site: &str, uid: &str) -> bool {
        self.owed.values().any(|owed| owed.site == site && owed.uid == uid)
    }

    /// Keys of the oldest decisions of a tenant beyond `keep` of them.
    pub(super) fn old_decisions(&self, tenant: &str, keep: usize) -> Vec<Id> {
        let first = Id::new(tenant, "");
        let own =
            || self.decisions.range(first.clone()..).take_while(|(id, ())| id.tenant == tenant);
        let surplus = own().count().saturating_sub(keep);
        // A few at a time keeps the transaction small; the next decision takes the rest.
        own().take(surplus.min(8)).map(|(id, ())| id.clone()).collect()
    }
}

/// What is stored at `key` as a resource at this revision.
pub(super) fn read_resource(item: &meta::Item) -> Result<Resource> {
    let mut resource: Resource = serde_json::from_slice(&item.value).map_err(|source| {
        Error::Stored { key: String::from_utf8_lossy(&item.key).into_owned(), source }
    })?;
    resource.metadata.resource_version = Some(item.mod_revision);
    Ok(resource)
}
