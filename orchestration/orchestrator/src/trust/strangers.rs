//! Connections of whoever has not yet shown who they are: few from one address, and never all
//! places of a listener, so that a crowd of them does not keep out those who are known.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// Most strangers of one address.
const PER_ADDRESS: usize = 32;

/// Who waits to be known at one listener.
#[derive(Debug)]
pub(crate) struct Strangers {
    most: usize,
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection; counted until it is known who it is, or until it ends.
#[derive(Debug)]
pub(crate) struct Stranger {
    among: Arc<Strangers>,
    address: IpAddr,
    counted: AtomicBool,
}

impl Strangers {
    /// Half of a listener's `places` are left for those who are known.
    pub(crate) fn new(places: usize) -> Arc<Self> {
        Arc::new(Self { most: (places / 2).max(1), by_address: Mutex::default() })
    }

    /// Counts a connection; `None` if it is one too many.
    pub(crate) fn admit(self: &Arc<Self>, from: IpAddr) -> Option<Stranger> {
        let address = network(from);
        let mut by_address = self.by_address();
        let all: usize = by_address.values().sum();
        let count = by_address.get(&address).copied().unwrap_or_default();
        if all >= self.most || count >= PER_ADDRESS {
            return None;
        }
        by_address.insert(address, count + 1);
        Some(Stranger { among: self.clone(), address, counted: AtomicBool::new(true) })
    }

    fn by_address(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.by_address.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stranger {
    /// It has not shown yet who it is.
    pub(crate) fn is_strange(&self) -> bool {
        self.counted.load(Ordering::Relaxed)
    }

    /// It has shown who it is.
    pub(crate) fn is_known(&self) {
        if !self.counted.swap(false, Ordering::Relaxed) {
            return;
        }
        let mut by_address = self.among.by_address();
        if let Some(count) = by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.is_known();
    }
}

/// Whoever has one address of IPv6 has the 2^64 of its network.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_has_few_places_and_all_together_half() {
        let strangers = Strangers::new(4 * PER_ADDRESS);
        let from = |host: u8| IpAddr::from([10, 0, 0, host]);

        let first: Vec<_> = (0..PER_ADDRESS).map(|_| strangers.admit(from(1)).unwrap()).collect();
        assert!(strangers.admit(from(1)).is_none());
        let second: Vec<_> = (0..PER_ADDRESS).map(|_| strangers.admit(from(2)).unwrap()).collect();
        assert!(strangers.admit(from(3)).is_none());

        first[0].is_known();
        first[0].is_known();
        assert!(strangers.admit(from(3)).is_some());
        drop((first, second));
        assert!(strangers.by_address().is_empty());
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let [one, other, mapped] = ["2001:db8::1", "2001:db8::ffff:1", "::ffff:10.0.0.1"]
            .map(|text| network(text.parse().unwrap()));

        assert_eq!(one, other);
        assert_eq!(mapped, IpAddr::from([10, 0, 0, 1]));
    }
}
