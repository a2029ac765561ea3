//! The names of services, as the control plane needs them kept.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

/// Answers for the names of services: a DNS zone.
///
/// Every call has taken effect when it returns: what is asked afterwards is answered anew.
pub trait Names: Send + Sync + fmt::Debug {
    /// The name of a service: `street-counter.default.cloudskin.internal`.
    fn name_of(&self, tenant: &str, service: &str) -> String;

    /// Points the service's name at this address, whatever it was before.
    fn switch(&self, tenant: &str, service: &str, address: IpAddr);

    /// Forgets the service's name.
    fn remove(&self, tenant: &str, service: &str);

    /// The zone, and where it is served, for people.
    fn zone(&self) -> (String, Option<SocketAddr>);
}
