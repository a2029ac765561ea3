//! Changes by outsiders (RFC 2136): addresses of names, only with the key's signature.

use super::zone::{ADDRESSES_MAX, Addresses, Change, Content, Zone};
use hickory_proto::{
    op::{LowerQuery, ResponseCode},
    rr::{DNSClass, LowerName, RData, Record, RecordType},
};
use hickory_server::server::Request;
use std::{collections::BTreeMap, net::IpAddr};

/// Carries out an update whole or not at all, and tells its response code.
pub(super) fn update(
    zone: &Zone,
    request: &Request,
    zone_section: &LowerQuery,
    signed: bool,
) -> ResponseCode {
    if !signed {
        return ResponseCode::Refused;
    }
    let outcome = check_zone(zone, zone_section).and_then(|()| apply(zone, request));
    match outcome {
        Ok(()) => ResponseCode::NoError,
        Err(code) => code,
    }
}

fn check_zone(zone: &Zone, section: &LowerQuery) -> Result<(), ResponseCode> {
    if section.query_type() != RecordType::SOA {
        return Err(ResponseCode::FormErr);
    }
    let ours = section.name() == zone.origin_name() && section.query_class() == DNSClass::IN;
    if ours { Ok(()) } else { Err(ResponseCode::NotAuth) }
}

fn apply(zone: &Zone, request: &Request) -> Result<(), ResponseCode> {
    for record in &request.authorities {
        check_update(zone, record)?;
    }
    let tsig = &request.signature.as_ref().ok_or(ResponseCode::Refused)?.data;
    let mut content = zone.write();
    check_prerequisites(zone, &content, &request.answers)?;
    let changes = changes(&content, &request.authorities)?;
    // After the checks, so that an update that cannot be made does not use up its signature.
    if zone.key().is_none_or(|key| key.is_replay(tsig.time, &tsig.mac)) {
        return Err(ResponseCode::Refused);
    }
    let serial = content.serial;
    content.apply(&changes).map_err(|_| ResponseCode::Refused)?;
    if content.serial != serial {
        zone.counters().count_update();
    }
    Ok(())
}

/// RFC 2136, section 3.4.1, and what this zone can hold: addresses of names below its own.
fn check_update(zone: &Zone, record: &Record) -> Result<(), ResponseCode> {
    let name = LowerName::new(&record.name);
    if !zone.origin_name().zone_of(&name) {
        return Err(ResponseCode::NotZone);
    }
    let empty = matches!(record.data, RData::Update0(_));
    let any = record.record_type() == RecordType::ANY;
    match record.dns_class {
        DNSClass::IN if empty || any => return Err(ResponseCode::FormErr),
        DNSClass::IN if address(record).is_none() => return Err(ResponseCode::Refused),
        DNSClass::ANY if record.ttl != 0 || !empty => return Err(ResponseCode::FormErr),
        DNSClass::NONE if record.ttl != 0 || any => return Err(ResponseCode::FormErr),
        DNSClass::IN | DNSClass::ANY | DNSClass::NONE => {}
        _ => return Err(ResponseCode::FormErr),
    }
    // The zone's own records and its server's stay as they are configured.
    if name == *zone.origin_name() || name == *zone.name_server() || name.is_wildcard() {
        return Err(ResponseCode::Refused);
    }
    Ok(())
}

/// RFC 2136, section 3.2.
fn check_prerequisites(
    zone: &Zone,
    content: &Content,
    records: &[Record],
) -> Result<(), ResponseCode> {
    // Sets that must be exactly so are spelled one record at a time.
    let mut exact: BTreeMap<(LowerName, RecordType), Addresses> = BTreeMap::new();
    for record in records {
        let name = LowerName::new(&record.name);
        if record.ttl != 0 {
            return Err(ResponseCode::FormErr);
        }
        if !zone.origin_name().zone_of(&name) {
            return Err(ResponseCode::NotZone);
        }
        let wanted = record.record_type();
        let empty = matches!(record.data, RData::Update0(_));
        match (record.dns_class, wanted) {
            (DNSClass::ANY | DNSClass::NONE, _) if !empty => return Err(ResponseCode::FormErr),
            (DNSClass::ANY, RecordType::ANY) if !in_use(zone, content, &name) => {
                return Err(ResponseCode::NXDomain);
            }
            (DNSClass::NONE, RecordType::ANY) if in_use(zone, content, &name) => {
                return Err(ResponseCode::YXDomain);
            }
            (DNSClass::ANY | DNSClass::NONE, RecordType::ANY) => {}
            (DNSClass::ANY, _) if !has_set(zone, content, &name, wanted) => {
                return Err(ResponseCode::NXRRSet);
            }
            (DNSClass::NONE, _) if has_set(zone, content, &name, wanted) => {
                return Err(ResponseCode::YXRRSet);
            }
            (DNSClass::ANY | DNSClass::NONE, _) => {}
            (DNSClass::IN, _) => {
                let ip = address(record).ok_or(ResponseCode::NXRRSet)?;
                exact.entry((name, wanted)).or_default().insert(ip);
            }
            _ => return Err(ResponseCode::FormErr),
        }
    }
    let holds = |((name, wanted), set): (&(LowerName, RecordType), &Addresses)| {
        content.names.get(name).is_some_and(|found| match wanted {
            RecordType::A => found.v4 == set.v4,
            _ => found.v6 == set.v6,
        })
    };
    if exact.iter().all(holds) { Ok(()) } else { Err(ResponseCode::NXRRSet) }
}

fn in_use(zone: &Zone, content: &Content, name: &LowerName) -> bool {
    name == zone.origin_name() || content.names.contains_key(name)
}

fn has_set(zone: &Zone, content: &Content, name: &LowerName, wanted: RecordType) -> bool {
    if name == zone.origin_name() {
        return matches!(wanted, RecordType::SOA | RecordType::NS);
    }
    content.names.get(name).is_some_and(|found| match wanted {
        RecordType::A => !found.v4.is_empty(),
        RecordType::AAAA => !found.v6.is_empty(),
        _ => false,
    })
}

/// What the update section makes of each name that it mentions, its records taken in order.
fn changes(content: &Content, updates: &[Record]) -> Result<Vec<Change>, ResponseCode> {
    let mut touched: BTreeMap<LowerName, Addresses> = BTreeMap::new();
    for record in updates {
        let name = LowerName::new(&record.name);
        let before = || content.names.get(&name).cloned().unwrap_or_default();
        let addresses = touched.entry(name.clone()).or_insert_with(before);
        match (record.dns_class, record.record_type(), address(record)) {
            (DNSClass::IN, _, Some(ip)) => addresses.insert(ip),
            (DNSClass::NONE, _, Some(ip)) => addresses.remove(ip),
            (DNSClass::ANY, RecordType::ANY, _) => *addresses = Addresses::default(),
            (DNSClass::ANY, RecordType::A, _) => addresses.v4.clear(),
            (DNSClass::ANY, RecordType::AAAA, _) => addresses.v6.clear(),
            // What is to be deleted was never here.
            _ => {}
        }
        if addresses.len() > ADDRESSES_MAX {
            return Err(ResponseCode::Refused);
        }
    }
    let change = |(name, addresses): (LowerName, Addresses)| Change {
        name,
        addresses: (addresses.len() > 0).then_some(addresses),
    };
    Ok(touched.into_iter().map(change).collect())
}

fn address(record: &Record) -> Option<IpAddr> {
    match &record.data {
        RData::A(ip) => Some(IpAddr::V4(ip.0)),
        RData::AAAA(ip) => Some(IpAddr::V6(ip.0)),
        _ => None,
    }
}
