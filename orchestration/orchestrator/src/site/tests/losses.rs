//! What a site says of epochs that it gave up.

use super::*;
use api::{link::Segment, service::OnSiteLost};
use cells::worker::journals_kept;

const UID: &str = "uid-echo";

/// What a worker notes of requests whose answers are not replayed: their ids.
fn journal(ids: &[&str]) -> Vec<u8> {
    let mut bytes = b"CSKJRNL1".to_vec();
    for id in ids {
        let payload = [&[id.len() as u8], id.as_bytes(), &[0]].concat();
        let record = [&(payload.len() as u32).to_le_bytes(), &payload[..]].concat();
        bytes.extend(&record);
        bytes.extend(crc32c(&record).to_le_bytes());
    }
    bytes
}

fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[test]
fn what_an_old_epoch_answered_is_told_until_it_is_noted() {
    let control = Control::new(&token(), LEASE);
    let mut agent = serving(&control, "edge", 2, |wanted| {
        wanted.spec.on_site_lost = OnSiteLost::Restart;
    });
    let folder = agent.config.data_dir.join("services").join(UID);
    assert!(journals_kept(&folder), "other sites may go on without them");
    for (sequence, ids) in [(4, ["a", "b"]), (5, ["c", "d"])] {
        std::fs::write(folder.join(format!("journal-{sequence:016x}")), journal(&ids)).unwrap();
    }

    control.desire("edge", |desired| {
        desired.services.clear();
        desired.drop = vec![(UID.into(), Epoch(1))];
    });

    wait_until("it is told", LIMIT, || control.tails("edge").len() == 1);
    let tail = control.tails("edge").remove(0);
    let segment = |sequence, ids: [&str; 2]| Segment {
        sequence,
        count: 2,
        request_ids: ids.map(str::to_owned).to_vec(),
    };
    assert_eq!((tail.uid.as_str(), tail.epoch, tail.incarnation), (UID, Epoch(1), 1));
    assert_eq!(tail.segments, [segment(4, ["a", "b"]), segment(5, ["c", "d"])]);
    wait_until("the state is gone", LIMIT, || !folder.exists());
    // Not noted, it is told again, by the next agent too.
    agent.kill();
    agent.restart();
    wait_until("the next agent tells it", LIMIT, || {
        control.connections("edge") == 2 && control.tails("edge") == [tail.clone()]
    });
    control.note("edge", UID, 1);
    wait_until("it is told no more", LIMIT, || control.tails("edge").is_empty());
}

#[test]
fn a_service_that_was_deleted_has_lost_nothing() {
    let control = Control::new(&token(), LEASE);
    let agent = serving(&control, "edge", 2, |wanted| {
        wanted.spec.on_site_lost = OnSiteLost::Restart;
    });
    let folder = agent.config.data_dir.join("services").join(UID);
    std::fs::write(folder.join(format!("journal-{:016x}", 4)), journal(&["a"])).unwrap();

    control.desire("edge", |desired| desired.services.clear());

    wait_until("the state is gone", LIMIT, || !folder.exists());
    assert_eq!(control.tails("edge"), []);
}
