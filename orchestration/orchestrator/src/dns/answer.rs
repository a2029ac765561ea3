//! What the zone answers to a query: a pure function of its content.

use super::zone::{Addresses, Zone};
use hickory_proto::{
    op::{LowerQuery, ResponseCode},
    rr::{DNSClass, Name, RData, Record, RecordType, rdata::HINFO},
};
use std::net::IpAddr;

/// The parts of a response that depend on the zone.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) code: ResponseCode,
    pub(super) authoritative: bool,
    pub(super) answers: Vec<Record>,
    pub(super) authority: Vec<Record>,
    pub(super) additional: Vec<Record>,
}

impl Answer {
    /// A response that is only a code.
    pub(super) fn code(code: ResponseCode) -> Self {
        Self {
            code,
            authoritative: false,
            answers: Vec::new(),
            authority: Vec::new(),
            additional: Vec::new(),
        }
    }

    fn records(answers: Vec<Record>) -> Self {
        Self { authoritative: true, answers, ..Self::code(ResponseCode::NoError) }
    }

    /// "No such name" or "no such type", with what tells resolvers how long to believe it.
    fn negative(code: ResponseCode, soa: Record) -> Self {
        Self { authoritative: true, authority: vec![soa], ..Self::code(code) }
    }
}

/// The answer to one question.
pub(super) fn answer(zone: &Zone, query: &LowerQuery) -> Answer {
    if query.query_class() != DNSClass::IN || !zone.origin_name().zone_of(query.name()) {
        return Answer::code(ResponseCode::Refused);
    }
    // Written as the question was: resolvers that mix upper and lower case check that.
    let owner = query.original().name().clone();
    let content = zone.read();
    let soa = || zone.negative_soa(content.serial);
    let found = if query.name() == zone.origin_name() {
        apex(zone, content.serial, owner, query.query_type())
    } else if let Some(addresses) = content.names.get(query.name()) {
        of_host(addresses, zone.ttl_seconds(), &owner, query.query_type())
    } else if content.is_above_another(query.name()) {
        Vec::new()
    } else {
        return Answer::negative(ResponseCode::NXDomain, soa());
    };
    if found.is_empty() {
        return Answer::negative(ResponseCode::NoError, soa());
    }
    let mut answer = Answer::records(found);
    if query.query_type() == RecordType::NS
        && let Some(addresses) = content.names.get(zone.name_server())
    {
        let owner = Name::from(zone.name_server());
        answer.additional = address_records(addresses.ips(), zone.ttl_seconds(), &owner);
    }
    answer
}

/// The records of the zone's own name.
fn apex(zone: &Zone, serial: u32, owner: Name, wanted: RecordType) -> Vec<Record> {
    match wanted {
        RecordType::SOA | RecordType::IXFR => {
            let mut soa = zone.soa(serial);
            soa.name = owner;
            vec![soa]
        }
        RecordType::NS => vec![zone.ns(owner)],
        RecordType::ANY => vec![any(owner, zone.ttl_seconds())],
        _ => Vec::new(),
    }
}

fn of_host(addresses: &Addresses, ttl: u32, owner: &Name, wanted: RecordType) -> Vec<Record> {
    match wanted {
        RecordType::A => address_records(addresses.v4_ips(), ttl, owner),
        RecordType::AAAA => address_records(addresses.v6_ips(), ttl, owner),
        RecordType::ANY => vec![any(owner.clone(), ttl)],
        _ => Vec::new(),
    }
}

/// The least that answers ANY (RFC 8482), so that it cannot be used to amplify traffic.
fn any(owner: Name, ttl: u32) -> Record {
    let data = HINFO::new("RFC8482".to_owned(), String::new());
    Record::from_rdata(owner, ttl, RData::HINFO(data))
}

/// One record for each address.
pub(super) fn address_records(
    addresses: impl IntoIterator<Item = IpAddr>,
    ttl: u32,
    owner: &Name,
) -> Vec<Record> {
    let record = |ip| {
        let data = match ip {
            IpAddr::V4(ip) => RData::A(ip.into()),
            IpAddr::V6(ip) => RData::AAAA(ip.into()),
        };
        Record::from_rdata(owner.clone(), ttl, data)
    };
    addresses.into_iter().map(record).collect()
}
