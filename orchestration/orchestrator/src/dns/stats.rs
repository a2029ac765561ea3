//! Counters of a name server.

use hickory_proto::op::ResponseCode;
use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What a name server has answered since it was made, by response code.
///
/// Packets that are no DNS message are refused before they are counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Answered with records, or that the name has none of this type.
    pub noerror: u64,
    /// The name does not exist.
    pub nxdomain: u64,
    /// Not our zone, or not allowed.
    pub refused: u64,
    /// Malformed.
    pub formerr: u64,
    /// An operation that we do not have.
    pub notimp: u64,
    /// Not authenticated.
    pub notauth: u64,
    /// Our failure.
    pub servfail: u64,
    /// Any other code: mostly prerequisites of updates that did not hold.
    pub other: u64,
    /// Zone transfers sent; also counted by code.
    pub transfers: u64,
    /// Updates that changed the zone; also counted by code.
    pub updates: u64,
}

impl Stats {
    /// All answers.
    pub fn queries(&self) -> u64 {
        self.noerror
            + self.nxdomain
            + self.refused
            + self.formerr
            + self.notimp
            + self.notauth
            + self.servfail
            + self.other
    }
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    noerror: AtomicU64,
    nxdomain: AtomicU64,
    refused: AtomicU64,
    formerr: AtomicU64,
    notimp: AtomicU64,
    notauth: AtomicU64,
    servfail: AtomicU64,
    other: AtomicU64,
    transfers: AtomicU64,
    updates: AtomicU64,
}

impl Counters {
    pub(super) fn count(&self, code: ResponseCode) {
        let counter = match code {
            ResponseCode::NoError => &self.noerror,
            ResponseCode::NXDomain => &self.nxdomain,
            ResponseCode::Refused => &self.refused,
            ResponseCode::FormErr => &self.formerr,
            ResponseCode::NotImp => &self.notimp,
            ResponseCode::NotAuth => &self.notauth,
            ResponseCode::ServFail => &self.servfail,
            _ => &self.other,
        };
        counter.fetch_add(1, Relaxed);
    }

    pub(super) fn count_transfer(&self) {
        self.transfers.fetch_add(1, Relaxed);
    }

    pub(super) fn count_update(&self) {
        self.updates.fetch_add(1, Relaxed);
    }

    pub(super) fn read(&self) -> Stats {
        Stats {
            noerror: self.noerror.load(Relaxed),
            nxdomain: self.nxdomain.load(Relaxed),
            refused: self.refused.load(Relaxed),
            formerr: self.formerr.load(Relaxed),
            notimp: self.notimp.load(Relaxed),
            notauth: self.notauth.load(Relaxed),
            servfail: self.servfail.load(Relaxed),
            other: self.other.load(Relaxed),
            transfers: self.transfers.load(Relaxed),
            updates: self.updates.load(Relaxed),
        }
    }
}
