//! The ingress with a DNS server, a control plane and sites of the test's own.

use super::*;
use axum::{Router, body::Body as AxumBody, extract::State as AxumState, routing::any};
use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{RData, Record},
};
use std::{
    collections::HashMap,
    net::Ipv4Addr,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UdpSocket,
};

/// What the test's DNS server answers.
#[derive(Debug, Default)]
struct Zone {
    names: Mutex<HashMap<String, (Ipv4Addr, u32)>>,
    asked: AtomicUsize,
}

impl Zone {
    fn set(&self, service: &str, address: Ipv4Addr, ttl: u32) {
        let name = format!("{service}.default.svc.cloudskin.internal.");
        self.names.lock().unwrap().insert(name, (address, ttl));
    }

    async fn serve(self: Arc<Self>) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            loop {
                let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
                self.asked.fetch_add(1, Ordering::Relaxed);
                let answer = self.answer(&Message::from_vec(&buffer[..length]).unwrap());
                socket.send_to(&answer.to_vec().unwrap(), peer).await.unwrap();
            }
        });
        address
    }

    fn answer(&self, question: &Message) -> Message {
        let query = question.queries[0].clone();
        let name = query.name().clone();
        let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
        match self.names.lock().unwrap().get(&name.to_ascii()) {
            Some((address, ttl)) => {
                answer.add_answer(Record::from_rdata(name, *ttl, RData::A((*address).into())));
            }
            None => answer.metadata.response_code = ResponseCode::NXDomain,
        }
        answer.add_query(query);
        answer
    }
}

/// A site's ingress that says its name, the Host and the length of what it was sent.
async fn site(name: &'static str, listener: TcpListener) {
    let echo = move |request: axum::extract::Request| async move {
        let (parts, body) = request.into_parts();
        let host = parts.headers[header::HOST].to_str().unwrap().to_owned();
        let id = parts.headers.contains_key(REQUEST_ID);
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let te = parts.headers.contains_key("te");
        format!("{name} {host} {} {} id={id} te={te}", parts.uri, body.len())
    };
    axum::serve(listener, Router::new().fallback(any(echo))).await.unwrap();
}

/// A control plane that lists one service.
async fn control() -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let list = || async {
        let service = api::Resource::new(Kind::Service, "default", "counter", &());
        axum::Json(api::List { resource_version: 1, items: vec![service] })
    };
    let path = api::paths::list("default", Kind::Service);
    let router = Router::new().route(&path, axum::routing::get(list));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    Client::new(&url, None, "default").unwrap()
}

struct Fixture {
    zone: Arc<Zone>,
    address: SocketAddr,
    site_port: u16,
}

/// An ingress, and a site at `127.<block>.1.1`; further sites use the same port.
async fn fixture(block: u8) -> Fixture {
    let zone = Arc::new(Zone::default());
    let dns = Arc::clone(&zone).serve().await;
    let site_listener = TcpListener::bind((Ipv4Addr::new(127, block, 1, 1), 0)).await.unwrap();
    let site_port = site_listener.local_addr().unwrap().port();
    tokio::spawn(site("one", site_listener));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let ingress = Ingress::new(dns, site_port, control().await);
    tokio::spawn(ingress.serve(listener));
    Fixture { zone, address, site_port }
}

/// Sends a request as bytes and returns everything until the ingress closes.
async fn raw(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn get(address: SocketAddr, host: &str) -> String {
    let request =
        format!("GET /a?b=c HTTP/1.1\r\nHost: {host}\r\nTE: x\r\nConnection: close\r\n\r\n");
    raw(address, &request).await
}

#[tokio::test]
async fn a_request_reaches_the_service_as_it_was_sent() {
    let Fixture { zone, address, .. } = fixture(91).await;
    zone.set("counter", Ipv4Addr::new(127, 91, 1, 1), 5);

    let answer = get(address, "counter.localhost:8080").await;
    let again = get(address, "counter.localhost").await;
    let posted = raw(
        address,
        "POST / HTTP/1.1\r\nHost: counter.localhost\r\nTransfer-Encoding: chunked\r\n\
         Cloudskin-Request-Id: mine\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    )
    .await;

    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.ends_with("one counter.localhost:8080 /a?b=c 0 id=true te=false"), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("cloudskin-request-id: "), "{answer}");
    assert!(again.contains("200 OK"), "{again}");
    assert!(posted.ends_with("one counter.localhost / 3 id=true te=false"), "{posted}");
    assert!(posted.to_ascii_lowercase().contains("cloudskin-request-id: mine"), "{posted}");
    assert_eq!(zone.asked.load(Ordering::Relaxed), 1, "the answer was kept for its TTL");
}

#[tokio::test]
async fn an_answer_that_must_not_be_kept_is_asked_for_each_time() {
    let Fixture { zone, address, .. } = fixture(92).await;
    zone.set("counter", Ipv4Addr::new(127, 92, 1, 1), 0);

    get(address, "counter.localhost").await;
    get(address, "counter.localhost").await;

    assert_eq!(zone.asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_service_that_moved_is_found_by_a_second_resolve() {
    let Fixture { zone, address, site_port } = fixture(93).await;
    // Nobody listens there: the site is gone, and its address was just learnt for 5 s.
    zone.set("counter", Ipv4Addr::new(127, 93, 1, 9), 5);
    let lost = get(address, "counter.localhost").await;
    assert!(lost.starts_with("HTTP/1.1 503"), "{lost}");

    let second = TcpListener::bind((Ipv4Addr::new(127, 93, 1, 2), site_port)).await.unwrap();
    tokio::spawn(site("two", second));
    zone.set("counter", Ipv4Addr::new(127, 93, 1, 2), 5);
    let found = get(address, "counter.localhost").await;

    assert!(found.contains("two counter.localhost"), "{found}");
}

#[tokio::test]
async fn what_does_not_exist_is_answered_with_what_does() {
    let Fixture { address, .. } = fixture(94).await;

    for host in ["nothing.localhost", "localhost:8080", "127.0.0.1"] {
        let answer = get(address, host).await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
        assert!(answer.contains(r#""services":["counter"]"#), "{answer}");
    }
    let foreign = get(address, "evil.example").await;
    assert!(foreign.starts_with("HTTP/1.1 403"), "{foreign}");
    assert!(!foreign.contains("counter"), "{foreign}");
}

#[tokio::test]
async fn answers_are_passed_on_as_they_come() {
    let Fixture { zone, address, site_port } = fixture(95).await;
    let listener = TcpListener::bind((Ipv4Addr::new(127, 95, 1, 3), site_port)).await.unwrap();
    let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
    let receiver = Arc::new(Mutex::new(Some(receiver)));
    type Pieces = Arc<Mutex<Option<tokio::sync::mpsc::Receiver<Bytes>>>>;
    let stream = |AxumState(receiver): AxumState<Pieces>| async move {
        let mut receiver = receiver.lock().unwrap().take().unwrap();
        AxumBody::from_stream(futures_util::stream::poll_fn(move |context| {
            receiver.poll_recv(context).map(|piece| piece.map(Ok::<_, std::convert::Infallible>))
        }))
    };
    let router = Router::new().fallback(any(stream)).with_state(receiver);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    zone.set("stream", Ipv4Addr::new(127, 95, 1, 3), 5);

    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: stream.localhost\r\n\r\n").await.unwrap();
    sender.send(Bytes::from_static(b"first")).await.unwrap();
    let mut seen = Vec::new();
    // The second piece is sent only once the first has arrived.
    while !String::from_utf8_lossy(&seen).contains("first") {
        assert_ne!(client.read_buf(&mut seen).await.unwrap(), 0);
    }
    sender.send(Bytes::from_static(b"second")).await.unwrap();
    while !String::from_utf8_lossy(&seen).contains("second") {
        assert_ne!(client.read_buf(&mut seen).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_silent_dns_server_is_a_clear_error() {
    let dns = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let closed = dns.local_addr().unwrap();
    drop(dns);
    tokio::spawn(Ingress::new(closed, 1, control().await).serve(listener));

    let answer = get(address, "counter.localhost").await;

    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("DNS"), "{answer}");
}

#[tokio::test]
async fn a_site_whose_ingress_is_on_another_machines_loopback_is_named() {
    let zone = Arc::new(Zone::default());
    zone.set("counter", Ipv4Addr::LOCALHOST, 5);
    let dns = Arc::clone(&zone).serve().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(Ingress::new(dns, address.port(), control().await).serve(listener));

    let answer = get(address, "counter.localhost").await;

    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("--ingress"), "{answer}");
}
