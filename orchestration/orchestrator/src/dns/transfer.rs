//! The whole zone for a secondary server (AXFR, RFC 5936).

use super::{
    answer::{Answer, address_records},
    zone::Zone,
};
use hickory_proto::{
    op::{LowerQuery, ResponseCode},
    rr::{DNSClass, Name, Record},
};

/// Records of one message: however long their names, they fit its 64 KiB.
const RECORDS_PER_MESSAGE: usize = 200;

/// The messages of a transfer: all records between two copies of the start of authority.
pub(super) fn transfer(zone: &Zone, query: &LowerQuery, allowed: bool) -> Vec<Answer> {
    if !allowed || query.query_class() != DNSClass::IN {
        return vec![Answer::code(ResponseCode::Refused)];
    }
    if query.name() != zone.origin_name() {
        return vec![Answer::code(ResponseCode::NotAuth)];
    }
    zone.counters().count_transfer();
    let records = records(zone);
    let messages = records.chunks(RECORDS_PER_MESSAGE).map(|chunk| Answer {
        authoritative: true,
        answers: chunk.to_vec(),
        ..Answer::code(ResponseCode::NoError)
    });
    messages.collect()
}

/// Every record of the zone at one moment.
fn records(zone: &Zone) -> Vec<Record> {
    let content = zone.read();
    let soa = zone.soa(content.serial);
    let mut records = vec![soa.clone(), zone.ns(Name::from(zone.origin_name()))];
    for (name, addresses) in &content.names {
        records.extend(address_records(addresses.ips(), zone.ttl_seconds(), &Name::from(name)));
    }
    records.push(soa);
    records
}
