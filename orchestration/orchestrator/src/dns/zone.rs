//! The names and addresses of one zone, switched atomically.

use super::{Config, Error, Key, Result, Stats, config::TTL_MAX_SECONDS, stats::Counters};
use hickory_proto::rr::{LowerName, Name, RData, Record, rdata::SOA};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::Bound,
    str::FromStr,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::{SystemTime, UNIX_EPOCH},
};
use types::check_name;

/// Most names of a zone: one zone transfer stays within the memory of a small edge box.
pub const NAMES_MAX: usize = 100_000;

/// Most addresses of a name: more would not fit what a UDP answer usefully carries.
pub const ADDRESSES_MAX: usize = 32;

/// How long a resolver may remember that a name or type does not exist.
const NEGATIVE_TTL_SECONDS: u32 = 1;

/// One authoritative zone; clones share its content.
#[derive(Clone, Debug)]
pub struct Zone {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    origin: LowerName,
    name_server: LowerName,
    ttl_seconds: u32,
    key: Option<Key>,
    content: RwLock<Content>,
    counters: Counters,
}

/// What changes; guarded by one lock, so that every reader sees whole changes.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) serial: u32,
    /// In DNSSEC's canonical order, in which a name directly precedes all below it.
    pub(super) names: BTreeMap<LowerName, Addresses>,
}

/// The addresses of one name; never both empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Addresses {
    pub(super) v4: BTreeSet<Ipv4Addr>,
    pub(super) v6: BTreeSet<Ipv6Addr>,
}

/// One name's new state; made by [`Zone::point`] and [`Zone::remove`].
#[derive(Debug, Clone)]
pub struct Change {
    pub(super) name: LowerName,
    /// Absent: the name is removed.
    pub(super) addresses: Option<Addresses>,
}

impl Zone {
    /// An empty zone.
    ///
    /// # Errors
    /// [`Error::Origin`] or [`Error::Ttl`] if the settings cannot be used.
    pub fn new(config: Config) -> Result<Self> {
        let bad_origin = || Error::Origin { origin: config.origin.chars().take(300).collect() };
        let mut origin = Name::from_str(&config.origin).map_err(|_| bad_origin())?.to_lowercase();
        origin.set_fqdn(true);
        if origin.is_root() || origin.is_wildcard() {
            return Err(bad_origin());
        }
        if config.ttl_seconds > TTL_MAX_SECONDS {
            let max_seconds = TTL_MAX_SECONDS;
            return Err(Error::Ttl { ttl_seconds: config.ttl_seconds, max_seconds });
        }
        let name_server = origin.prepend_label("ns").map_err(|_| bad_origin())?;
        let name_server = LowerName::new(&name_server);
        let mut names = BTreeMap::new();
        if !config.name_server.is_empty() {
            names.insert(name_server.clone(), Addresses::from_ips(&config.name_server));
        }
        let serial = config.serial.unwrap_or_else(unix_seconds);
        let shared = Shared {
            origin: LowerName::new(&origin),
            name_server,
            ttl_seconds: config.ttl_seconds,
            key: config.key,
            content: RwLock::new(Content { serial, names }),
            counters: Counters::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The domain name of a service, with the final dot.
    ///
    /// # Errors
    /// [`Error::Label`] or [`Error::NameTooLong`] if DNS cannot carry it.
    pub fn service_name(&self, tenant: &str, service: &str) -> Result<String> {
        Ok(self.name_of(tenant, service)?.to_string())
    }

    /// The change that makes a service's name stand for exactly these addresses.
    ///
    /// # Errors
    /// If the name is not valid or the addresses are none or too many.
    pub fn point(&self, tenant: &str, service: &str, addresses: &[IpAddr]) -> Result<Change> {
        let name = self.name_of(tenant, service)?;
        let found = Addresses::from_ips(addresses);
        match found.len() {
            0 => Err(Error::NoAddress { name: name.to_string() }),
            count if count > ADDRESSES_MAX => {
                Err(Error::TooManyAddresses { name: name.to_string(), count })
            }
            _ => Ok(Change { name, addresses: Some(found) }),
        }
    }

    /// The change after which a service's name does not exist.
    ///
    /// # Errors
    /// If the name is not valid.
    pub fn remove(&self, tenant: &str, service: &str) -> Result<Change> {
        Ok(Change { name: self.name_of(tenant, service)?, addresses: None })
    }

    /// Makes all changes at one moment and returns the zone's serial after it.
    ///
    /// When this has returned, no query that arrives later gets an older answer. The serial
    /// grows by one if anything was changed at all; of several changes to one name the last holds.
    ///
    /// # Errors
    /// [`Error::Full`]; then nothing was changed.
    pub fn apply(&self, changes: &[Change]) -> Result<u32> {
        let mut content = self.write();
        content.apply(changes)?;
        Ok(content.serial)
    }

    /// The serial of the last change.
    pub fn serial(&self) -> u32 {
        self.read().serial
    }

    /// The zone's own name, with the final dot.
    pub fn origin(&self) -> String {
        self.shared.origin.to_string()
    }

    /// The addresses of a service; empty if it has none.
    ///
    /// # Errors
    /// If the name is not valid.
    pub fn lookup(&self, tenant: &str, service: &str) -> Result<Vec<IpAddr>> {
        let name = self.name_of(tenant, service)?;
        Ok(self.read().names.get(&name).map(Addresses::ips).unwrap_or_default())
    }

    /// Every name with its addresses, in the zone's order.
    pub fn names(&self) -> Vec<(String, Vec<IpAddr>)> {
        let content = self.read();
        content.names.iter().map(|(name, found)| (name.to_string(), found.ips())).collect()
    }

    /// What was answered so far.
    pub fn stats(&self) -> Stats {
        self.shared.counters.read()
    }

    fn name_of(&self, tenant: &str, service: &str) -> Result<LowerName> {
        for text in [tenant, service] {
            check_name(text)
                .map_err(|source| Error::Label { text: text.chars().take(80).collect(), source })?;
        }
        let name = ["svc", tenant, service]
            .into_iter()
            .try_fold(Name::from(&self.shared.origin), |name, label| name.prepend_label(label));
        name.map(|name| LowerName::new(&name)).map_err(|_| Error::NameTooLong {
            service: service.to_owned(),
            tenant: tenant.to_owned(),
        })
    }
}

/// What the server's other parts need.
impl Zone {
    pub(super) fn read(&self) -> RwLockReadGuard<'_, Content> {
        // A change is checked before it is made, so a panic cannot leave half of one.
        self.shared.content.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Content> {
        self.shared.content.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn origin_name(&self) -> &LowerName {
        &self.shared.origin
    }

    pub(super) fn name_server(&self) -> &LowerName {
        &self.shared.name_server
    }

    pub(super) fn ttl_seconds(&self) -> u32 {
        self.shared.ttl_seconds
    }

    pub(super) fn key(&self) -> Option<&Key> {
        self.shared.key.as_ref()
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// The start-of-authority record at `serial`.
    pub(super) fn soa(&self, serial: u32) -> Record {
        let origin = Name::from(self.origin_name());
        let contact = origin.prepend_label("hostmaster").unwrap_or_else(|_| origin.clone());
        // Refresh, retry and expire suit secondaries that poll: we send no NOTIFY.
        let data = SOA::new(
            Name::from(self.name_server()),
            contact,
            serial,
            60,
            10,
            3600,
            NEGATIVE_TTL_SECONDS,
        );
        Record::from_rdata(origin, self.ttl_seconds(), RData::SOA(data))
    }

    /// The same as it goes with an answer that says no: its TTL limits how long that is kept.
    pub(super) fn negative_soa(&self, serial: u32) -> Record {
        let mut record = self.soa(serial);
        record.ttl = NEGATIVE_TTL_SECONDS.min(self.ttl_seconds());
        record
    }

    pub(super) fn ns(&self, owner: Name) -> Record {
        let data = hickory_proto::rr::rdata::NS(Name::from(self.name_server()));
        Record::from_rdata(owner, self.ttl_seconds(), RData::NS(data))
    }
}

impl Content {
    /// Makes all changes or none; grows the serial if any has an effect.
    pub(super) fn apply(&mut self, changes: &[Change]) -> Result<()> {
        // The last change of a name is the one that holds.
        let wanted: BTreeMap<_, _> =
            changes.iter().map(|change| (&change.name, change.addresses.as_ref())).collect();
        let added = wanted
            .iter()
            .filter(|(name, addresses)| addresses.is_some() && !self.names.contains_key(**name))
            .count();
        if self.names.len() + added > NAMES_MAX {
            return Err(Error::Full);
        }
        let mut changed = false;
        for (name, addresses) in wanted {
            changed |= self.names.get(name) != addresses;
            match addresses {
                Some(addresses) => self.names.insert(name.clone(), addresses.clone()),
                None => self.names.remove(name),
            };
        }
        if changed {
            // Zero has a special meaning to some secondaries.
            self.serial = self.serial.checked_add(1).unwrap_or(1);
        }
        Ok(())
    }

    /// Whether some name lies below `name`: then it exists, though it holds nothing.
    pub(super) fn is_above_another(&self, name: &LowerName) -> bool {
        self.names
            .range::<LowerName, _>((Bound::Excluded(name), Bound::Unbounded))
            .next()
            .is_some_and(|(next, _)| name.zone_of(next))
    }
}

impl Addresses {
    pub(super) fn from_ips(ips: &[IpAddr]) -> Self {
        let mut all = Self::default();
        ips.iter().for_each(|ip| all.insert(*ip));
        all
    }

    pub(super) fn insert(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(ip) => self.v4.insert(ip),
            IpAddr::V6(ip) => self.v6.insert(ip),
        };
    }

    pub(super) fn remove(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(ip) => self.v4.remove(&ip),
            IpAddr::V6(ip) => self.v6.remove(&ip),
        };
    }

    pub(super) fn ips(&self) -> Vec<IpAddr> {
        self.v4_ips().chain(self.v6_ips()).collect()
    }

    pub(super) fn v4_ips(&self) -> impl Iterator<Item = IpAddr> {
        self.v4.iter().map(|ip| IpAddr::V4(*ip))
    }

    pub(super) fn v6_ips(&self) -> impl Iterator<Item = IpAddr> {
        self.v6.iter().map(|ip| IpAddr::V6(*ip))
    }

    pub(super) fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }
}

fn unix_seconds() -> u32 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Serials wrap around (RFC 1982), and so may this.
    (elapsed.as_secs() & u64::from(u32::MAX)) as u32
}
