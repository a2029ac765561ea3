//! Services: answering, retries, checkpoints, journals, migration.

use crate::{
    guests,
    worker::{Worker, service},
};
use api::service::{Durability, Engine};
use cells::worker::protocol::{Command, Reply, ServiceStart};
use std::{net::IpAddr, sync::Arc, time::Duration};
use types::{Epoch, ErrorKind};

const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

#[tokio::test]
async fn answers_in_order_and_a_retry_gets_the_same_bytes() {
    let Some(module) = guests::migratable("ledger.c") else { return };
    let folder = tempfile::tempdir().unwrap();
    let worker = Worker::start(folder.path()).await;
    let handle = worker.serve(&service(&module, folder.path())).await;

    for n in 1..=200 {
        assert_eq!(worker.text(handle, &format!("r{n}"), "/add").await, n.to_string());
    }
    assert_eq!(worker.text(handle, "r200", "/add").await, "200");
    assert_eq!(worker.text(handle, "next", "/add").await, "201");
    assert_eq!(worker.text(handle, "nap", "/nap").await, "rested");
    assert_eq!(worker.ask(handle, "lost", "/nowhere").await.unwrap().status, 404);
    let big = worker.post(handle, "big", "/nowhere", &vec![7; 3 << 20]).await.unwrap();
    assert_eq!(big.status, 404);
}

#[tokio::test]
async fn what_a_guest_says_on_standard_error_is_its_log() {
    let Some(module) = guests::migratable("ledger.c") else { return };
    let folder = tempfile::tempdir().unwrap();
    let worker = Worker::start(folder.path()).await;
    let start = service(&module, folder.path());
    let handle = worker.serve(&start).await;

    worker.text(handle, "1", "/say").await;

    let logs = Command::Logs { uid: start.uid, offset: 0, limit: 100 };
    let Reply::Logs { bytes, .. } = worker.command(logs).await.unwrap() else { panic!() };
    assert_eq!(bytes, b"somebody asked\n");
}

/// Restarts the service in a new worker after kill -9 of the old one.
pub(crate) async fn crash_and_restart(
    worker: &mut Worker,
    folder: &std::path::Path,
    start: &mut ServiceStart,
) -> (u32, Option<api::service::Lost>) {
    worker.kill();
    *worker = Worker::start(folder).await;
    start.incarnation += 1;
    let command = Command::Start(Box::new(start.clone()));
    let Reply::Started(started) = worker.command(command).await.unwrap() else { panic!() };
    assert!(started.restored);
    // As an agent does once it has taken note.
    let noted = std::fs::remove_file(start.state_folder.join("lost"));
    assert_eq!(noted.is_ok(), !started.lost.is_empty());
    (started.handle, started.lost.into_iter().next())
}

#[tokio::test]
async fn a_checkpoint_survives_kill_9_and_what_came_after_is_named() {
    let Some(module) = guests::migratable("ledger.c") else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut worker = Worker::start(folder.path()).await;
    let mut start = service(&module, folder.path());
    let handle = worker.serve(&start).await;
    worker.text(handle, "a", "/add").await;
    worker.text(handle, "b", "/fill/3").await;
    let sum = worker.text(handle, "c", "/sum").await;
    worker.command(Command::Checkpoint { uid: start.uid.clone() }).await.unwrap();
    worker.text(handle, "d", "/add").await;
    worker.text(handle, "e", "/add").await;

    let (handle, lost) = crash_and_restart(&mut worker, folder.path(), &mut start).await;

    let lost = lost.unwrap();
    assert_eq!((lost.count, lost.request_ids), (2, vec!["d".to_owned(), "e".to_owned()]));
    assert_eq!(worker.text(handle, "f", "/sum").await, sum);
    assert_eq!(worker.text(handle, "a", "/add").await, "1", "the table survived too");
    // Nothing was answered since: nothing is lost by another crash.
    worker.command(Command::Checkpoint { uid: start.uid.clone() }).await.unwrap();
    let (_, lost) = crash_and_restart(&mut worker, folder.path(), &mut start).await;
    assert_eq!(lost, None);
}

#[tokio::test]
async fn a_journal_loses_nothing_and_replays_clocks_and_randomness() {
    let Some(module) = guests::migratable("ledger.c") else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut worker = Worker::start(folder.path()).await;
    let mut start = service(&module, folder.path());
    start.durability = Durability::Journal;
    let mut handle = worker.serve(&start).await;
    let mut answers = Vec::new();
    for round in 0..3 {
        for n in 0..10 {
            let path = if n % 2 == 0 { "/clock" } else { "/add" };
            let id = format!("{round}-{n}");
            answers.push((id.clone(), path, worker.text(handle, &id, path).await));
        }
        if round == 1 {
            worker.command(Command::Checkpoint { uid: start.uid.clone() }).await.unwrap();
        }
        let lost;
        (handle, lost) = crash_and_restart(&mut worker, folder.path(), &mut start).await;
        assert_eq!(lost, None);
    }

    for (id, path, answer) in &answers {
        assert_eq!(worker.text(handle, id, path).await, *answer, "{id}");
    }
    let steady = |answer: &str| answer.split(' ').nth(1).unwrap().parse::<u64>().unwrap();
    let clocks: Vec<_> = answers
        .iter()
        .filter(|(_, path, _)| *path == "/clock")
        .map(|(_, _, a)| steady(a))
        .collect();
    assert!(clocks.is_sorted(), "monotonic time went back: {clocks:?}");
    let total = worker.text(handle, "sum", "/sum").await;
    let randoms = answers.iter().filter(|(_, path, _)| *path == "/clock");
    let drawn: u64 =
        randoms.map(|(_, _, a)| a.split(' ').nth(2).unwrap().parse::<u64>().unwrap()).sum();
    assert_eq!(total.split(' ').next().unwrap(), ((drawn + 15) as u32).to_string());
}

/// Moves the service while it works; the handle at the target.
pub(crate) async fn migrate(
    source: &Worker,
    target: &Worker,
    start: &ServiceStart,
    id: &str,
) -> u32 {
    let prepare =
        Command::Prepare { migration: id.into(), start: Box::new(start.clone()), listen: LOOPBACK };
    let Reply::Prepared { address, secret } = target.command(prepare).await.unwrap() else {
        panic!()
    };
    let uid = start.uid.clone();
    let transfer = Command::Transfer { migration: id.into(), uid, address, secret };
    let Reply::Transferred(cost) = source.command(transfer).await.unwrap() else { panic!() };
    println!("{cost:?}");
    let activate = Command::Activate { migration: id.into() };
    let Reply::Activated { handle } = target.command(activate).await.unwrap() else { panic!() };
    source.command(Command::Release { migration: id.into() }).await.unwrap();
    handle
}

/// Eight ask again as soon as they are answered: there is always somebody who waits.
#[tokio::test]
async fn a_service_that_is_never_idle_is_saved_and_moves_all_the_same() {
    const SOON: Duration = Duration::from_secs(20);
    let Some(module) = guests::migratable("ledger.c") else { return };
    let folder = tempfile::tempdir().unwrap();
    let edge = Arc::new(Worker::start(folder.path()).await);
    let cloud = Worker::start(folder.path()).await;
    let start = service(&module, folder.path());
    let handle = edge.serve(&start).await;
    let ask = |n: u32| {
        let edge = edge.clone();
        tokio::spawn(async move {
            let mut answered = 0;
            while edge.ask(handle, &format!("{n}-{answered}"), "/nap").await.is_ok() {
                answered += 1;
            }
            answered
        })
    };
    let asking: Vec<_> = (0..8).map(ask).collect();
    tokio::time::sleep(Duration::from_millis(200)).await;

    let save = edge.command(Command::Checkpoint { uid: start.uid.clone() });
    tokio::time::timeout(SOON, save).await.expect("it is saved meanwhile").unwrap();
    let moving =
        ServiceStart { epoch: Epoch(2), state_folder: folder.path().join("cloud"), ..start };
    let moved = tokio::time::timeout(SOON, migrate(&edge, &cloud, &moving, "m"));
    let moved = moved.await.expect("it moves meanwhile");

    for each in asking {
        assert!(each.await.unwrap() > 0, "it was answered until it moved");
    }
    assert_eq!(cloud.text(moved, "there", "/nap").await, "rested");
}

#[tokio::test]
async fn a_service_moves_with_all_its_state_and_back() {
    let Some(module) = guests::migratable("ledger.c") else { return };
    for durability in [Durability::Checkpoint, Durability::Journal] {
        let folder = tempfile::tempdir().unwrap();
        let (edge, cloud) =
            (Worker::start(folder.path()).await, Worker::start(folder.path()).await);
        let mut start = service(&module, folder.path());
        start.durability = durability;
        let handle = edge.serve(&start).await;
        edge.text(handle, "f", "/fill/24").await;
        let before = edge.text(handle, "s", "/sum").await;

        let at_edge = start.clone();
        let mut there = start.clone();
        there.epoch = Epoch(2);
        there.state_folder = folder.path().join("cloud");
        let at_cloud = migrate(&edge, &cloud, &there, "m1").await;

        assert!(!at_edge.state_folder.exists(), "the source keeps nothing");
        let gone = edge.ask(handle, "x", "/sum").await.unwrap_err();
        assert_eq!(gone.kind, ErrorKind::Unavailable);
        assert_eq!(cloud.text(at_cloud, "s2", "/sum").await, before);
        assert_eq!(cloud.text(at_cloud, "a1", "/add").await, "1");
        let mut back = start.clone();
        back.epoch = Epoch(3);
        let handle = migrate(&cloud, &edge, &back, "m2").await;
        assert_eq!(edge.text(handle, "a1", "/add").await, "1", "retries are known there too");
        assert_eq!(edge.text(handle, "a2", "/add").await, "2");

        // And what arrived is durable from the first moment.
        let mut edge = edge;
        let (handle, lost) = crash_and_restart(&mut edge, folder.path(), &mut back).await;
        if durability == Durability::Journal {
            assert_eq!(lost, None);
            assert_eq!(edge.text(handle, "a3", "/add").await, "3");
        }
    }
}

#[tokio::test]
async fn requests_go_on_during_the_copy_and_none_is_lost() {
    let Some(module) = guests::migratable("ledger.c") else { return };
    let folder = tempfile::tempdir().unwrap();
    let (edge, cloud) = (Worker::start(folder.path()).await, Worker::start(folder.path()).await);
    let start = service(&module, folder.path());
    let handle = edge.serve(&start).await;
    edge.text(handle, "f", "/fill/48").await;
    let mut there = start.clone();
    there.epoch = Epoch(2);
    there.state_folder = folder.path().join("cloud");

    let moving = migrate(&edge, &cloud, &there, "m");
    let asking = async {
        let mut answered = 0;
        for n in 0.. {
            match edge.ask(handle, &format!("t{n}"), "/touch/10").await {
                Ok(answer) if answer.status == 200 => answered += 1,
                Ok(answer) => panic!("{answer:?}"),
                Err(failure) => {
                    assert_eq!(failure.kind, ErrorKind::Unavailable, "{failure}");
                    return (answered, n);
                }
            }
        }
        unreachable!()
    };
    let (at_cloud, (answered, refused)) = tokio::join!(moving, asking);

    // The one that was refused was not run: it is the next.
    let text = cloud.text(at_cloud, &format!("t{refused}"), "/touch/10").await;
    assert_eq!(text, format!("touched {}", answered + 1));
}

#[tokio::test]
async fn an_aborted_migration_leaves_the_source_serving() {
    let Some(module) = guests::migratable("ledger.c") else { return };
    let folder = tempfile::tempdir().unwrap();
    let (edge, cloud) = (Worker::start(folder.path()).await, Worker::start(folder.path()).await);
    let start = service(&module, folder.path());
    let handle = edge.serve(&start).await;
    edge.text(handle, "a", "/add").await;
    let mut there = start.clone();
    there.epoch = Epoch(2);
    there.state_folder = folder.path().join("cloud");
    let prepare = |id: &str| Command::Prepare {
        migration: id.into(),
        start: Box::new(there.clone()),
        listen: LOOPBACK,
    };
    let transfer = |id: &str, address, secret| Command::Transfer {
        migration: id.into(),
        uid: start.uid.clone(),
        address,
        secret,
    };

    // After the state has left.
    let Reply::Prepared { address, secret } = cloud.command(prepare("m1")).await.unwrap() else {
        panic!()
    };
    edge.command(transfer("m1", address, secret)).await.unwrap();
    for worker in [&cloud, &edge] {
        worker.command(Command::Abort { migration: "m1".into() }).await.unwrap();
    }
    assert!(!there.state_folder.exists());
    assert_eq!(edge.text(handle, "b", "/add").await, "2");

    // A wrong secret lets nobody in, and the source serves on by itself.
    let Reply::Prepared { address, .. } = cloud.command(prepare("m2")).await.unwrap() else {
        panic!()
    };
    let refused = edge.command(transfer("m2", address, "wrong".into())).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Unavailable, "{refused}");
    assert_eq!(edge.text(handle, "c", "/add").await, "3");
    cloud.command(Command::Abort { migration: "m2".into() }).await.unwrap();

    // A target that dies meanwhile.
    let mut cloud = cloud;
    let Reply::Prepared { address, secret } = cloud.command(prepare("m3")).await.unwrap() else {
        panic!()
    };
    cloud.kill();
    edge.command(transfer("m3", address, secret)).await.unwrap_err();
    assert_eq!(edge.text(handle, "d", "/add").await, "4");
}

#[tokio::test]
async fn an_agent_that_comes_back_finds_its_services() {
    let Some(module) = guests::migratable("ledger.c") else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut worker = Worker::start(folder.path()).await;
    let start = service(&module, folder.path());
    let handle = worker.serve(&start).await;
    worker.text(handle, "a", "/add").await;

    worker.reconnect().await;

    assert_eq!(worker.text(handle, "b", "/add").await, "2");
    let again = worker.command(Command::Start(Box::new(start))).await.unwrap_err();
    assert_eq!(again.kind, ErrorKind::AlreadyExists);
}

#[tokio::test]
async fn of_starts_at_one_time_the_last_incarnation_stays() {
    let Some(module) = guests::migratable("ledger.c") else { return };
    let folder = tempfile::tempdir().unwrap();
    let worker = Worker::start(folder.path()).await;
    let mut start = service(&module, folder.path());
    start.durability = Durability::Journal;
    let handle = worker.serve(&start).await;
    worker.text(handle, "a", "/add").await;

    // An agent died while its worker was busy with a start, and so did the next.
    let starts = (1..=4).map(|incarnation| {
        let start = ServiceStart { incarnation, ..start.clone() };
        let command = Command::Start(Box::new(start));
        let client = worker.client.clone();
        tokio::spawn(async move { client.command(&command).await })
    });

    for reply in starts.collect::<Vec<_>>() {
        if let Err(failure) = reply.await.unwrap() {
            assert_eq!(failure.kind, ErrorKind::AlreadyExists, "{failure}");
        }
    }
    let Reply::Status(status) = worker.command(Command::Status).await.unwrap() else { panic!() };
    let [held] = &status.services[..] else { panic!("{status:?}") };
    assert_eq!(held.incarnation, 4);
    assert_eq!(worker.text(held.handle, "b", "/add").await, "2");
}

#[tokio::test]
async fn an_old_epoch_gets_no_state_of_a_newer_one() {
    let Some(module) = guests::migratable("ledger.c") else { return };
    let folder = tempfile::tempdir().unwrap();
    let worker = Worker::start(folder.path()).await;
    let mut start = service(&module, folder.path());
    start.epoch = Epoch(5);
    worker.serve(&start).await;
    worker.command(Command::Stop { uid: start.uid.clone(), checkpoint: true }).await.unwrap();

    start.epoch = Epoch(4);
    let refused = worker.command(Command::Start(Box::new(start))).await.unwrap_err();

    assert_eq!(refused.kind, ErrorKind::Fenced, "{refused}");
}

#[tokio::test]
async fn a_service_may_write_more_in_its_life_than_a_program() {
    let Some(module) = guests::migratable("ledger.c") else { return };
    let folder = tempfile::tempdir().unwrap();
    let worker = Worker::start(folder.path()).await;
    let mut start = service(&module, folder.path());
    start.limits.output_bytes = 100;
    let handle = worker.serve(&start).await;

    for n in 1..=20 {
        assert_eq!(worker.text(handle, &n.to_string(), "/say").await, "said");
    }
}

#[tokio::test]
async fn a_fenced_service_answers_nobody() {
    let Some(module) = guests::migratable("ledger.c") else { return };
    let folder = tempfile::tempdir().unwrap();
    let worker = Worker::start(folder.path()).await;
    let start = service(&module, folder.path());
    let handle = worker.serve(&start).await;

    worker.command(Command::Fence { uid: start.uid.clone(), fenced: true }).await.unwrap();
    let refused = worker.ask(handle, "a", "/add").await.unwrap_err();
    worker.command(Command::Fence { uid: start.uid, fenced: false }).await.unwrap();

    assert_eq!(refused.kind, ErrorKind::Fenced);
    assert_eq!(worker.text(handle, "a", "/add").await, "1");
}

#[tokio::test]
async fn more_cells_than_fit_take_turns_in_memory() {
    let Some(module) = guests::migratable("ledger.c") else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut worker = Worker::start(folder.path()).await;
    let mut handles = Vec::new();
    for _ in 0..1100 {
        let handle = worker.serve(&service(&module, folder.path())).await;
        // An agent hears of checkpoints all the time; one that does not is not told more.
        while worker.events.try_recv().is_ok() {}
        assert_eq!(worker.text(handle, "a", "/add").await, "1");
        handles.push(handle);
    }
    for handle in handles {
        assert_eq!(worker.text(handle, "b", "/add").await, "2");
    }
}

#[tokio::test]
async fn the_interpreter_serves_too_and_takes_over_from_machine_code() {
    let Some(module) = guests::migratable("ledger.c") else { return };
    let folder = tempfile::tempdir().unwrap();
    let (edge, cloud) = (Worker::start(folder.path()).await, Worker::start(folder.path()).await);
    let start = service(&module, folder.path());
    let handle = edge.serve(&start).await;
    edge.text(handle, "a", "/add").await;
    edge.text(handle, "f", "/fill/1").await;
    let sum = edge.text(handle, "s", "/sum").await;
    let mut there = start.clone();
    there.epoch = Epoch(2);
    there.engine = Engine::Pulley;
    there.state_folder = folder.path().join("cloud");

    let handle = migrate(&edge, &cloud, &there, "m").await;

    assert_eq!(cloud.text(handle, "s2", "/sum").await, sum);
    assert_eq!(cloud.text(handle, "b", "/add").await, "2");
}

#[tokio::test]
async fn a_slow_request_keeps_nobody_else_waiting() {
    let Some(module) = guests::migratable("ledger.c") else { return };
    let folder = tempfile::tempdir().unwrap();
    let worker = Worker::start(folder.path()).await;
    let mut slow = service(&module, folder.path());
    slow.request_timeout = Duration::from_secs(2);
    let (slow, quick) =
        (worker.serve(&slow).await, worker.serve(&service(&module, folder.path())).await);

    let client = worker.client.clone();
    let spinning = tokio::spawn(async move {
        let record = cells::record::encode_request("GET", "/spin", [].into_iter(), b"").unwrap();
        client.request(slow, "s", &record).await
    });
    for n in 1..=50 {
        assert_eq!(worker.text(quick, &n.to_string(), "/add").await, n.to_string());
    }
    assert!(!spinning.is_finished());
    let stopped = spinning.await.unwrap().unwrap_err();
    assert_eq!(stopped.kind, ErrorKind::Timeout, "{stopped}");
    assert_eq!(worker.text(quick, "after", "/add").await, "51");
}
