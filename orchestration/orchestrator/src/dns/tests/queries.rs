use super::*;
use crate::dns::{ADDRESSES_MAX, Error, Key, handler::Handler};
use hickory_proto::{
    op::{Edns, ResponseCode},
    rr::{DNSClass, Record},
};
use hickory_server::{net::xfer::Protocol, server::Request};
use proptest::prelude::*;

#[tokio::test]
async fn answers_addresses_and_the_zones_own_records() {
    let (zone, server) = street(Config { serial: Some(41), ..Config::default() }).await;

    let a = ask(server, STREET, RecordType::A).await;
    assert_eq!((a.response_code, a.authoritative), (ResponseCode::NoError, true));
    assert_eq!(addresses(&a), [ip("127.0.0.2")]);
    assert_eq!(a.answers[0].ttl, 2);
    assert_eq!(addresses(&ask(server, STREET, RecordType::AAAA).await), [ip("::2")]);

    let soa = ask(server, "cloudskin.internal.", RecordType::SOA).await;
    let RData::SOA(data) = &soa.answers[0].data else { panic!("{soa}") };
    assert_eq!((data.serial, data.minimum), (42, 1));
    assert_eq!(zone.serial(), 42);

    let ns = ask(server, "cloudskin.internal.", RecordType::NS).await;
    assert_eq!(ns.answers[0].data.to_string(), "ns.cloudskin.internal.");
    assert_eq!(ns.additionals[0].data.to_string(), "127.0.0.1");
    let stats = zone.stats();
    assert_eq!((stats.noerror, stats.queries()), (4, 4));
}

#[tokio::test]
async fn tells_a_missing_name_from_a_missing_type() {
    let (zone, server) = street(Config::default()).await;
    zone.apply(&[zone.point("default", "v4-only", &[ip("127.0.0.3")]).unwrap()]).unwrap();
    let cases = [
        ("nothing.default.svc.cloudskin.internal.", RecordType::A, ResponseCode::NXDomain),
        (
            "below.street-counter.default.svc.cloudskin.internal.",
            RecordType::A,
            ResponseCode::NXDomain,
        ),
        ("street.default.svc.cloudskin.internal.", RecordType::A, ResponseCode::NXDomain),
        ("other.svc.cloudskin.internal.", RecordType::ANY, ResponseCode::NXDomain),
        ("v4-only.default.svc.cloudskin.internal.", RecordType::AAAA, ResponseCode::NoError),
        (STREET, RecordType::TXT, ResponseCode::NoError),
        // Names that hold nothing themselves exist when something is below them.
        ("default.svc.cloudskin.internal.", RecordType::A, ResponseCode::NoError),
        ("svc.cloudskin.internal.", RecordType::A, ResponseCode::NoError),
        ("cloudskin.internal.", RecordType::A, ResponseCode::NoError),
    ];
    for (name, wanted, code) in cases {
        let answer = ask(server, name, wanted).await;
        assert_eq!((answer.response_code, answer.answers.len()), (code, 0), "{name} {wanted}");
        let [soa] = answer.authorities.as_slice() else { panic!("{answer}") };
        assert_eq!((soa.record_type(), soa.ttl), (RecordType::SOA, 1), "{name} {wanted}");
    }
}

#[tokio::test]
async fn refuses_what_is_not_its_business() {
    let (zone, server) = street(Config::default()).await;
    let refused = |message: Message| {
        assert_eq!(message.response_code, ResponseCode::Refused, "{message}");
        assert!(message.answers.is_empty() && message.authorities.is_empty(), "{message}");
    };
    refused(ask(server, "example.com.", RecordType::A).await);
    refused(ask(server, "internal.", RecordType::SOA).await);
    refused(ask(server, "xcloudskin.internal.", RecordType::A).await);
    let mut chaos = question("version.bind.", RecordType::TXT);
    chaos.queries[0].set_query_class(DNSClass::CH);
    refused(ask_message(server, &chaos).await);
    assert_eq!(zone.stats().refused, 4);

    let mut two = question(STREET, RecordType::A);
    two.add_query(two.queries[0].clone());
    assert_eq!(ask_message(server, &two).await.response_code, ResponseCode::FormErr);
    let mut notify = question("cloudskin.internal.", RecordType::SOA);
    notify.metadata.op_code = OpCode::Notify;
    assert_eq!(ask_message(server, &notify).await.response_code, ResponseCode::NotImp);
    let mut future = question(STREET, RecordType::A);
    future.set_edns(Edns::new()).edns.as_mut().unwrap().set_version(1);
    // The same number stands for a bad signature where one was sent.
    let code = u16::from(ask_message(server, &future).await.response_code);
    assert_eq!(code, u16::from(ResponseCode::BADVERS));
}

#[tokio::test]
async fn takes_any_case_and_gives_it_back() {
    let (_zone, server) = street(Config::default()).await;
    let mixed = "StReEt-CoUnTeR.dEfAuLt.SvC.ClOuDsKiN.InTeRnAl.";

    let answer = ask(server, mixed, RecordType::A).await;

    assert_eq!(addresses(&answer), [ip("127.0.0.2")]);
    assert_eq!(answer.queries[0].name().to_ascii(), mixed);
    assert_eq!(answer.answers[0].name.to_ascii(), mixed);
}

#[tokio::test]
async fn any_is_answered_with_as_little_as_possible() {
    let (_zone, server) = street(Config::default()).await;
    for name in [STREET, "cloudskin.internal."] {
        let answer = ask(server, name, RecordType::ANY).await;
        assert_eq!(answer.answers.len(), 1);
        assert_eq!(answer.answers[0].record_type(), RecordType::HINFO);
    }
}

#[tokio::test]
async fn an_answer_too_large_for_udp_comes_by_tcp() {
    let zone = Zone::new(Config::default()).unwrap();
    let many: Vec<_> = (1..=ADDRESSES_MAX).map(|n| ip(&format!("fd00::{n:x}"))).collect();
    zone.apply(&[zone.point("default", "street-counter", &many).unwrap()]).unwrap();
    let server = start(&zone).await.address();

    let small = ask(server, STREET, RecordType::AAAA).await;
    assert!(small.truncation && small.answers.is_empty(), "{small}");
    let mut question = question(STREET, RecordType::AAAA);
    assert_eq!(addresses(&ask_tcp(server, &question).await), many);
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    question.set_edns(edns);
    let large = ask_message(server, &question).await;
    assert_eq!(addresses(&large), many);
    assert!(!large.truncation && large.edns.is_some());
}

#[tokio::test]
async fn malformed_packets_do_no_harm() {
    let (_zone, server) = street(Config::default()).await;
    let good = question(STREET, RecordType::A).to_vec().unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for end in 0..good.len() {
        socket.send_to(&good[..end], server).await.unwrap();
    }
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        socket.send_to(&bad, server).await.unwrap();
    }
    // A name that points at itself.
    let mut looped = good[..12].to_vec();
    looped.extend([0xc0, 0x0c, 0, 1, 0, 1]);
    socket.send_to(&looped, server).await.unwrap();
    // A TCP client that promises more than it sends.
    let mut stream = TcpStream::connect(server).await.unwrap();
    stream.write_all(&[0xff, 0xff, 1, 2, 3]).await.unwrap();
    drop(stream);

    assert_eq!(addresses(&ask(server, STREET, RecordType::A).await), [ip("127.0.0.2")]);
}

#[tokio::test]
async fn dig_agrees() {
    let (_zone, server) = street(Config { serial: Some(9), ..Config::default() }).await;
    let Some(short) = dig(server, &["+short", STREET, "A"]).await else { return };
    assert_eq!(short, "127.0.0.2\n");
    let tcp = dig(server, &["+tcp", "+short", STREET, "AAAA"]).await.unwrap();
    assert_eq!(tcp, "::2\n");
    let missing = dig(server, &["missing.svc.cloudskin.internal."]).await.unwrap();
    assert!(missing.contains("status: NXDOMAIN") && missing.contains("EDNS: version: 0"));
    assert!(!missing.contains("WARNING: Message parser"), "{missing}");
    let foreign = dig(server, &["example.com."]).await.unwrap();
    assert!(foreign.contains("status: REFUSED"), "{foreign}");
    let all = dig(server, &["AXFR", "cloudskin.internal."]).await.unwrap();
    assert!(all.contains("XFR size: 6 records"), "{all}");
    assert_eq!(all.matches("SOA").count(), 2, "{all}");
}

#[test]
fn a_zone_refuses_settings_and_changes_that_cannot_work() {
    let with = |origin: &str, ttl_seconds| {
        Zone::new(Config { origin: origin.to_owned(), ttl_seconds, ..Config::default() })
    };
    assert!(matches!(with("a.", 6), Err(Error::Ttl { ttl_seconds: 6, max_seconds: 5 })));
    for origin in ["", ".", "*.a.", "a..b", &"x".repeat(64), &"x.".repeat(130)] {
        assert!(matches!(with(origin, 2), Err(Error::Origin { .. })), "{origin}");
    }
    let zone = with("Example.ORG", 2).unwrap();
    assert_eq!(zone.service_name("t", "s").unwrap(), "s.t.svc.example.org.");
    for bad in ["", "A", "a.b", "*", "-a", "a_b", "ä"] {
        assert!(matches!(zone.point(bad, "s", &[ip("::1")]), Err(Error::Label { .. })), "{bad}");
        assert!(matches!(zone.remove("t", bad), Err(Error::Label { .. })), "{bad}");
    }
    assert!(matches!(zone.point("t", "s", &[]), Err(Error::NoAddress { .. })));
    let many: Vec<_> = (0..33).map(|n| ip(&format!("10.0.0.{n}"))).collect();
    assert!(matches!(zone.point("t", "s", &many), Err(Error::TooManyAddresses { count: 33, .. })));
}

/// A signed update, a signed and an unsigned question, a transfer.
fn hostile_base(which: usize, key: &Key) -> Vec<u8> {
    let mut message = match which {
        0 | 1 => question(STREET, RecordType::A),
        2 => question("cloudskin.internal.", RecordType::AXFR),
        _ => {
            let mut update = question("cloudskin.internal.", RecordType::SOA);
            update.metadata.op_code = OpCode::Update;
            let data = RData::A(std::net::Ipv4Addr::LOCALHOST.into());
            update.add_authority(Record::from_rdata(name("a.cloudskin.internal."), 2, data));
            update
        }
    };
    message.set_edns(Edns::new());
    if which != 0 {
        message.finalize(key.signer(), 1000).unwrap();
    }
    message.to_vec().unwrap()
}

proptest! {
    #[test]
    fn no_message_makes_the_server_panic(
        base in 0_usize..4,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
        stream: bool,
    ) {
        let key = Key::new("planner", &[7; 32]).unwrap();
        let zone = Zone::new(Config { key: Some(key.clone()), ..Config::default() }).unwrap();
        let mut packet = hostile_base(base, &key);
        for (at, value) in flips {
            let at = at.index(packet.len());
            packet[at] = value;
        }
        if let Some(cut) = cut {
            packet.truncate(cut.index(packet.len()));
        }
        let protocol = if stream { Protocol::Tcp } else { Protocol::Udp };
        let source = "192.0.2.1:5353".parse().unwrap();
        let request = Request::from_bytes(packet, source, protocol);
        if let Ok(request) = request {
            let messages = Handler::new(zone).respond(&request, 1000).unwrap();
            prop_assert!(messages.iter().all(|message| message.len() <= 65_535));
        }
    }

    #[test]
    fn a_zone_holds_what_a_plain_map_holds(
        changes in prop::collection::vec((0_u8..6, prop::option::of(0_u8..4)), 0..60)
    ) {
        let zone = Zone::new(Config { name_server: Vec::new(), ..Config::default() }).unwrap();
        let mut model = std::collections::BTreeMap::new();
        for (service, address) in changes {
            let (service, serial) = (format!("s{service}"), zone.serial());
            let (change, before) = match address {
                Some(last) => {
                    let address = IpAddr::from([127, 0, 0, last]);
                    let before = model.insert(service.clone(), address);
                    (zone.point("t", &service, &[address]).unwrap(), before == Some(address))
                }
                None => {
                    let before = model.remove(&service);
                    (zone.remove("t", &service).unwrap(), before.is_none())
                }
            };
            let after = zone.apply(&[change]).unwrap();
            prop_assert_eq!(after, if before { serial } else { serial + 1 });
        }
        let found: Vec<_> = zone.names().into_iter().flat_map(|(_, ips)| ips).collect();
        prop_assert_eq!(found, model.values().copied().collect::<Vec<_>>());
    }
}
