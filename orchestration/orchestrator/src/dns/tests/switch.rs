use super::*;
use hickory_proto::op::ResponseCode;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Instant,
};

const OLD_OR_NEW: [&str; 2] = ["127.0.0.2", "127.0.0.3"];
const SWITCHES: usize = 500;

/// Asks with pauses of one millisecond only; every answer must be one of the two addresses.
async fn probe(server: SocketAddr, done: Arc<AtomicBool>) -> usize {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(server).await.unwrap();
    let packet = question(STREET, RecordType::A).to_vec().unwrap();
    let mut buffer = [0; 512];
    let mut asked = 0;
    while !done.load(SeqCst) {
        socket.send(&packet).await.unwrap();
        let length = timeout(Duration::from_secs(5), socket.recv(&mut buffer)).await;
        let answer = Message::from_vec(&buffer[..length.unwrap().unwrap()]).unwrap();
        assert_eq!(answer.response_code, ResponseCode::NoError);
        let [address] = addresses(&answer)[..] else { panic!("{answer}") };
        assert!(OLD_OR_NEW.map(ip).contains(&address), "{address}");
        asked += 1;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    asked
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switched_name_is_never_empty_nor_wrong() {
    let zone = Zone::new(Config::default()).unwrap();
    let point = |count: usize| {
        zone.point("default", "street-counter", &[ip(OLD_OR_NEW[count % 2])]).unwrap()
    };
    zone.apply(&[point(0)]).unwrap();
    let serial = zone.serial();
    let server = start(&zone).await.address();
    let done = Arc::new(AtomicBool::new(false));
    let prober = tokio::spawn(probe(server, done.clone()));

    for count in 1..=SWITCHES {
        zone.apply(&[point(count)]).unwrap();
        // A query that starts after the switch sees the new address.
        let answer = ask(server, STREET, RecordType::A).await;
        assert_eq!(addresses(&answer), [ip(OLD_OR_NEW[count % 2])]);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(zone.serial(), serial + SWITCHES as u32);
    done.store(true, SeqCst);
    assert!(prober.await.unwrap() > SWITCHES / 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_change_together_are_never_seen_apart() {
    let zone = Zone::new(Config::default()).unwrap();
    let names = ["a", "b", "c"];
    let point = |last: u8| {
        names.map(|name| zone.point("default", name, &[IpAddr::from([127, 0, 1, last])]).unwrap())
    };
    zone.apply(&point(0)).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !done.load(SeqCst) {
                let all = zone.names();
                let seen: Vec<_> = all.iter().filter(|(name, _)| name.contains("svc")).collect();
                assert_eq!(seen.len(), 3);
                assert!(seen.iter().all(|(_, ips)| *ips == seen[0].1), "{seen:?}");
            }
        });
        for count in 0..2000_u32 {
            zone.apply(&point((count % 250) as u8)).unwrap();
        }
        done.store(true, SeqCst);
        reader.join().unwrap();
    });
}

#[tokio::test]
async fn stops_when_told_and_leaves_its_port_free() {
    let zone = Zone::new(Config::default()).unwrap();
    let shutdown = CancellationToken::new();
    let listen = "127.0.0.1:0".parse().unwrap();
    let server = serve(zone.clone(), listen, shutdown.clone()).await.unwrap();
    let address = server.address();
    let taken = serve(zone.clone(), address, CancellationToken::new()).await.unwrap_err();
    assert_eq!(taken.kind(), types::ErrorKind::Unavailable);

    shutdown.cancel();
    timeout(Duration::from_secs(5), server.stopped()).await.unwrap();

    serve(zone, address, CancellationToken::new()).await.unwrap();
}

/// Not a promise: run it with `--ignored` in release for a number.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn measures_queries_of_one_client() {
    let (_zone, server) = street(Config::default()).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(server).await.unwrap();
    let packet = question(STREET, RecordType::A).to_vec().unwrap();
    let mut buffer = [0; 512];
    let (started, count) = (Instant::now(), 20_000);
    for _ in 0..count {
        socket.send(&packet).await.unwrap();
        socket.recv(&mut buffer).await.unwrap();
    }
    println!("{:.0} queries/s, one at a time", f64::from(count) / started.elapsed().as_secs_f64());
}
