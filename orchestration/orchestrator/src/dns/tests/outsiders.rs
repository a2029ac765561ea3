use super::*;
use crate::dns::{Error, Key, handler::Handler};
use hickory_proto::{
    op::ResponseCode,
    rr::{DNSClass, Record},
};
use hickory_server::{net::xfer::Protocol, server::Request};

fn key() -> Key {
    "hmac-sha256:planner:c2VjcmV0LXNlY3JldC1zZWNyZXQ=".parse().unwrap()
}

#[test]
fn a_key_is_read_as_it_is_written_and_never_printed() {
    assert_eq!(key().reveal(), "hmac-sha256:planner:c2VjcmV0LXNlY3JldC1zZWNyZXQ=");
    assert_eq!(format!("{:?}", key()), "Key(planner., …)");
    assert_ne!(Key::random("a").unwrap().reveal(), Key::random("a").unwrap().reveal());
    let short = "hmac-sha256:a:c2hvcnQ=";
    for bad in ["", "a", "hmac-md5:a:c2VjcmV0", "hmac-sha256:a:%", short, "hmac-sha256::c2VjcmV0"] {
        assert!(matches!(bad.parse::<Key>(), Err(Error::Key { .. })), "{bad}");
    }
}

#[tokio::test]
async fn a_large_zone_is_transferred_whole() {
    let zone = Zone::new(Config { key: Some(key()), ..Config::default() }).unwrap();
    let point =
        |n: u32| zone.point("default", &format!("s{n}"), &[IpAddr::from(n.to_be_bytes())]).unwrap();
    zone.apply(&(1..=1000).map(point).collect::<Vec<_>>()).unwrap();
    let server = start(&zone).await.address();

    let Some(all) = dig(server, &["AXFR", "cloudskin.internal."]).await else { return };
    assert!(all.contains("XFR size: 1004 records (messages 6"), "{all}");
    // Every message carries a signature over the one before it; dig checks each.
    let signed =
        dig(server, &["-y", &key().reveal(), "AXFR", "cloudskin.internal."]).await.unwrap();
    assert!(signed.contains("(messages 6") && !signed.contains("failed"), "{signed}");
    let wrong = Key::random("planner").unwrap().reveal();
    let refused = dig(server, &["-y", &wrong, "AXFR", "cloudskin.internal."]).await.unwrap();
    assert!(!refused.contains("XFR size"), "{refused}");
    assert_eq!(zone.stats().transfers, 2);
}

#[test]
fn only_the_key_or_this_machine_may_transfer() {
    let zone = Zone::new(Config { key: Some(key()), ..Config::default() }).unwrap();
    let handler = Handler::new(zone);
    let code = |source: &str, signed: bool| {
        let mut message = question("cloudskin.internal.", RecordType::AXFR);
        if signed {
            message.finalize(key().signer(), 1000).unwrap();
        }
        let source = source.parse().unwrap();
        let request = Request::from_bytes(message.to_vec().unwrap(), source, Protocol::Tcp);
        let answer = handler.respond(&request.unwrap(), 1000).unwrap();
        Message::from_vec(&answer[0]).unwrap().response_code
    };
    assert_eq!(code("192.0.2.1:5353", false), ResponseCode::Refused);
    assert_eq!(code("192.0.2.1:5353", true), ResponseCode::NoError);
    assert_eq!(code("[::1]:5353", false), ResponseCode::NoError);
    assert_eq!(code("[::ffff:127.0.0.1]:5353", false), ResponseCode::NoError);
}

#[tokio::test]
async fn a_transfer_of_another_zone_or_by_udp_is_refused() {
    let (_zone, server) = street(Config::default()).await;
    let udp = ask(server, "cloudskin.internal.", RecordType::AXFR).await;
    assert_eq!(udp.response_code, ResponseCode::FormErr);
    let other = ask_tcp(server, &question("example.com.", RecordType::AXFR)).await;
    assert_eq!(other.response_code, ResponseCode::NotAuth);
    assert_eq!(addresses(&other).len(), 0);
}

#[tokio::test]
async fn nsupdate_changes_names_with_the_key_only() {
    let (zone, server) = street(Config { key: Some(key()), ..Config::default() }).await;
    let (serial, before) = (zone.serial(), zone.names());
    let script = |body: &str| {
        let (ip, port) = (server.ip(), server.port());
        format!("server {ip} {port}\nzone cloudskin.internal.\n{body}\nsend\n")
    };
    let cam = "cam.example.svc.cloudskin.internal.";
    let add = script(&format!("update add {cam} 2 A 10.1.1.1\nupdate add {cam} 2 AAAA fd00::1"));
    let update = async |key: &str, script: &str| {
        let arguments: &[&str] = if key.is_empty() { &[] } else { &["-y", key] };
        tool("nsupdate", arguments, script).await.map(|output| output.status.success())
    };
    for wrong in
        ["", &Key::random("planner").unwrap().reveal(), &Key::random("x").unwrap().reveal()]
    {
        let Some(done) = update(wrong, &add).await else { return };
        assert!(!done, "key `{wrong}`");
        assert_eq!(zone.names(), before);
    }
    let key = key().reveal();

    assert_eq!(update(&key, &add).await, Some(true));
    assert_eq!(zone.lookup("example", "cam").unwrap(), [ip("10.1.1.1"), ip("fd00::1")]);
    assert_eq!(zone.serial(), serial + 1);

    let guarded = script(&format!("prereq nxdomain {cam}\nupdate add {cam} 2 A 10.1.1.2"));
    assert_eq!(update(&key, &guarded).await, Some(false), "the name is in use");
    let swapped = script(&format!(
        "prereq yxrrset {cam} A 10.1.1.1\nupdate delete {cam} A\nupdate add {cam} 2 A 10.1.1.2"
    ));
    assert_eq!(update(&key, &swapped).await, Some(true));
    assert_eq!(zone.lookup("example", "cam").unwrap(), [ip("10.1.1.2"), ip("fd00::1")]);
    assert_eq!(update(&key, &swapped).await, Some(false), "the prerequisite no longer holds");
    for refused in ["update delete ns.cloudskin.internal. A", "update add a.b. 2 A 10.1.1.1"] {
        assert_eq!(update(&key, &script(refused)).await, Some(false), "{refused}");
    }
    assert_eq!(update(&key, &script(&format!("update delete {cam}"))).await, Some(true));
    assert_eq!(zone.names(), before);
}

#[tokio::test]
async fn a_recorded_update_cannot_be_played_again() {
    let (zone, server) = street(Config { key: Some(key()), ..Config::default() }).await;
    let mut update = Message::new(3, MessageType::Query, OpCode::Update);
    let mut section = Query::query(name("cloudskin.internal."), RecordType::SOA);
    section.set_query_class(DNSClass::IN);
    update.add_query(section);
    let owner = name("cam.example.svc.cloudskin.internal.");
    update.add_authority(Record::from_rdata(
        owner,
        2,
        RData::A(std::net::Ipv4Addr::new(10, 0, 0, 1).into()),
    ));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let sign = |time| {
        let mut signed = update.clone();
        signed.finalize(key().signer(), time).unwrap();
        signed.to_vec().unwrap()
    };
    let code = |answer: Option<Vec<u8>>| Message::from_vec(&answer.unwrap()).unwrap().response_code;

    let fresh = sign(now);
    assert_eq!(code(exchange(server, &fresh).await), ResponseCode::NoError);
    zone.apply(&[zone.remove("example", "cam").unwrap()]).unwrap();
    assert_eq!(code(exchange(server, &fresh).await), ResponseCode::Refused);
    assert_eq!(code(exchange(server, &sign(now - 1)).await), ResponseCode::Refused);
    assert_eq!(code(exchange(server, &sign(now - 1000)).await), ResponseCode::NotAuth);
    let mut forged = fresh;
    forged[40] ^= 1;
    assert_ne!(code(exchange(server, &forged).await), ResponseCode::NoError);

    assert!(zone.lookup("example", "cam").unwrap().is_empty());
}
