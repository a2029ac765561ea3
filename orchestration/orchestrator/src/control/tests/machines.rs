//! Who comes from another machine, and whom they may speak for.

use super::{
    super::{Config, Control, Listeners},
    world::World,
};
use crate::{
    client::Client,
    trust::{self, Authority, Identity, JoinToken},
};
use api::link::{FromControl, FromSite, LINK_VERSION};
use futures_util::{SinkExt, StreamExt};
use hyper::Method;
use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};
use testkit::Folder;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Error as WsError, Message, client::IntoClientRequest},
};
use types::{Bytes, Cpu, ErrorKind, Token};

const HOUR: Duration = Duration::from_secs(3600);

/// A control plane that other machines reach; it ends with the test.
struct Machine {
    folder: Folder,
    control: Control,
    plain: SocketAddr,
    secured: SocketAddr,
    _world: World,
}

impl Machine {
    async fn new() -> Self {
        let world = World::new().await;
        let folder = Folder::new();
        let clock = Arc::new(types::SystemClock::new());
        let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let secured = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (at, reached) = (plain.local_addr().unwrap(), secured.local_addr().unwrap());
        let mut config = Config::new(folder.join("control"), at);
        config.bind = Some(reached);
        let store =
            meta::Embedded::open(folder.join("store"), meta::Config::default(), clock.clone());
        let control =
            Control::open(config, Arc::new(store.unwrap()), world.noted(), clock).await.unwrap();
        let listeners = Listeners { plain, secured: Some(secured) };
        tokio::spawn(control.clone().run(listeners, std::future::pending()));
        Self { folder, control, plain: at, secured: reached, _world: world }
    }

    fn control_folder(&self) -> PathBuf {
        self.folder.join("control")
    }

    fn url(&self) -> String {
        format!("https://{}", self.secured)
    }

    fn user(&self, token: Option<Token>) -> Client {
        let ca = self.control_folder().join("ca.pem");
        Client::secured(&self.url(), token, "default", Some(&ca)).unwrap()
    }

    async fn token(&self, site: &str) -> JoinToken {
        let user = self.user(Some(self.control.token().clone()));
        user.create_join_token(site, HOUR).await.unwrap().token.parse().unwrap()
    }

    async fn join(&self, site: &str) -> Arc<Identity> {
        let path = self.folder.join(format!("{site}.json"));
        Arc::new(self.token(site).await.join(&self.url(), site, &path).await.unwrap())
    }

    fn issued(&self, authority: &Authority, site: &str, validity: Duration) -> Arc<Identity> {
        let path = self.folder.join(format!("{}.json", types::random_id()));
        let folder = self.control_folder();
        Arc::new(Identity::with_validity(authority, &folder, site, &path, validity).unwrap())
    }

    /// What a site hears that shows this certificate and says that it is `site`.
    async fn hello(&self, identity: &Arc<Identity>, site: &str) -> Result<FromControl, String> {
        self.session(identity, site, None).await.map(|(heard, _)| heard)
    }

    /// The same, reached by its peers at this port; the session goes on.
    async fn session(
        &self,
        identity: &Arc<Identity>,
        site: &str,
        place: Option<u16>,
    ) -> Result<(FromControl, WebSocketStream<trust::Stream>), String> {
        let config = identity.client(&[trust::HTTP]).unwrap();
        let stream = trust::connect(&config, self.secured, &trust::Expected::CONTROL)
            .await
            .map_err(|error| error.to_string())?;
        let request = format!("wss://{}{}", self.secured, api::paths::LINK);
        let request = request.into_client_request().unwrap();
        let socket = tokio_tungstenite::client_async(request, stream).await;
        greet(socket, site, place).await
    }

    /// What is answered to a request for a further certificate.
    async fn renew(&self, shown: &Arc<Identity>, asked: &Identity) -> (u16, String) {
        let config = shown.client(&[trust::HTTP]).unwrap();
        let mut stream =
            trust::connect(&config, self.secured, &trust::Expected::CONTROL).await.unwrap();
        let body = serde_json::to_string(&asked.request().unwrap()).unwrap();
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            api::paths::RENEW,
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).await.unwrap();
        let mut answer = String::new();
        // The control plane hangs up without a farewell of TLS.
        let _ = stream.read_to_string(&mut answer).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// The same on loopback, with the token of this machine's sites.
    async fn hello_with_token(&self, site: &str) -> Result<FromControl, String> {
        let request = format!("ws://{}{}", self.plain, api::paths::LINK);
        let mut request = request.into_client_request().unwrap();
        let bearer = format!("Bearer {}", self.control.site_token().reveal());
        request.headers_mut().insert("authorization", bearer.parse().unwrap());
        let opened = tokio_tungstenite::connect_async(request).await;
        greet(opened, site, None).await.map(|(heard, _)| heard)
    }
}

type Opened<S> = Result<(WebSocketStream<S>, hyper::Response<Option<Vec<u8>>>), WsError>;

async fn greet<S>(
    opened: Opened<S>,
    site: &str,
    place: Option<u16>,
) -> Result<(FromControl, WebSocketStream<S>), String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let (mut socket, _) = opened.map_err(|error| error.to_string())?;
    let hello = FromSite::Hello {
        version: LINK_VERSION,
        site: site.into(),
        labels: Default::default(),
        address: [127, 0, 0, 1].into(),
        peer_address: place.map(|_| [127, 0, 0, 1].into()),
        ingress_port: 1,
        peer_port: place.unwrap_or(2),
        cpu: Cpu(1000),
        memory: Bytes(1),
        store: None,
        agent_version: "test".into(),
        held: Vec::new(),
    };
    let hello = Message::text(serde_json::to_string(&hello).unwrap());
    socket.send(hello).await.map_err(|error| error.to_string())?;
    match socket.next().await {
        Some(Ok(Message::Text(text))) => Ok((serde_json::from_str(&text).unwrap(), socket)),
        other => Err(format!("{other:?}")),
    }
}

fn refused(answer: &Result<FromControl, String>) -> bool {
    matches!(answer, Ok(FromControl::Refused(problem)) if problem.kind == ErrorKind::Forbidden)
}

fn welcome(answer: &Result<FromControl, String>) -> bool {
    matches!(answer, Ok(FromControl::Welcome { .. }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_speaks_for_itself_alone() {
    let machine = Machine::new().await;
    let (a, b) = (machine.join("a").await, machine.join("b").await);

    assert!(welcome(&machine.hello(&a, "a").await));
    assert!(refused(&machine.hello(&a, "b").await));
    assert!(refused(&machine.hello(&b, "a").await));
    assert!(refused(&machine.hello(&a, "new").await));
    // Nor does the token that this machine's own sites share.
    assert!(refused(&machine.hello_with_token("a").await));
    assert!(welcome(&machine.hello_with_token("own").await));

    // Certificates are renewed for the own key alone.
    let (status, grant) = machine.renew(&a, &a).await;
    assert_eq!(status, 200, "{grant}");
    a.take(&serde_json::from_str(&grant).unwrap()).unwrap();
    assert!(welcome(&machine.hello(&a, "a").await));
    assert_eq!(machine.renew(&a, &b).await.0, 403);

    // Whoever joins as `a` next takes the name: the first key is void.
    let again = machine.join("a").await;
    assert!(machine.hello(&a, "a").await.is_err());
    assert!(welcome(&machine.hello(&again, "a").await));
    // So is a site's that was deleted.
    machine.control.state.registry.forget("b").unwrap();
    assert!(machine.hello(&b, "b").await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_certificates_of_this_control_plane_that_hold_are_taken() {
    let machine = Machine::new().await;
    let own = Authority::open(&machine.control_folder()).unwrap();
    let elsewhere = Folder::new();
    let foreign = Authority::open(elsewhere.path()).unwrap();

    let good = machine.issued(&own, "a", HOUR);
    assert!(welcome(&machine.hello(&good, "a").await));
    // Registered under its name, but signed by somebody else.
    let path = machine.folder.join("forged.json");
    let control = machine.control_folder();
    Identity::with_validity(&foreign, &control, "b", &path, HOUR).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let mut document: serde_json::Value = serde_json::from_str(&text).unwrap();
    document["authority"] = own.pem().into();
    std::fs::write(&path, document.to_string()).unwrap();
    let forged = Arc::new(Identity::load(&path).unwrap());
    assert!(machine.hello(&forged, "b").await.is_err());
    let expired = machine.issued(&own, "c", Duration::ZERO);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert!(machine.hello(&expired, "c").await.is_err());

    // Users come without a certificate, and with their token.
    let user = machine.user(Some(machine.control.token().clone()));
    user.status().await.unwrap();
    let no_token = machine.user(None).status().await.unwrap_err();
    assert_eq!(no_token.kind(), ErrorKind::Unauthenticated);
    // The token of this machine's sites does not leave it.
    let site = machine.user(Some(machine.control.site_token().clone()));
    for path in [api::paths::LINK, api::paths::STATUS, "/apis/v1/blobs/x"] {
        let refused = site.ask(Method::GET, path, Default::default()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unauthenticated, "{path}");
    }
    let link = user.ask(Method::GET, api::paths::LINK, Default::default()).await.unwrap_err();
    assert_eq!(link.kind(), ErrorKind::Forbidden);
    // Another authority is not the one that the user knows.
    let ca = elsewhere.join("ca.pem");
    let stranger = Client::secured(&machine.url(), None, "default", Some(&ca)).unwrap();
    assert_eq!(stranger.healthy().await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_token_is_shown_to_its_control_plane_alone_and_works_once() {
    let (machine, other) = (Machine::new().await, Machine::new().await);
    let token = machine.token("edge2").await;
    let path = machine.folder.join("edge2.json");

    // The machine that answers is not the one that made the token: it is not sent.
    let text = token.reveal();
    let mut wrong = token.clone();
    wrong.fingerprint = other.token("x").await.fingerprint;
    let error = wrong.join(&machine.url(), "edge2", &path).await.unwrap_err();
    assert!(types::chain(&error).contains("another control plane"), "{}", types::chain(&error));
    assert!(!path.exists());
    let error = token.join(&machine.url(), "edge3", &path).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden, "{error}");

    let identity = token.join(&machine.url(), "edge2", &path).await.unwrap();
    assert_eq!(identity.site(), "edge2");
    let again = text.parse::<JoinToken>().unwrap().join(&machine.url(), "edge2", &path).await;
    assert_eq!(again.unwrap_err().kind(), ErrorKind::Unauthenticated);
    assert!(path.exists(), "what was joined before stays");

    let user = machine.user(Some(machine.control.token().clone()));
    let late = user.create_join_token("edge2", Duration::from_millis(1)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let late = late.token.parse::<JoinToken>().unwrap().join(&machine.url(), "edge2", &path).await;
    assert!(late.unwrap_err().to_string().contains("expired"));
    // On loopback, without TLS, nobody joins.
    let plain = Client::new(&format!("http://{}", machine.plain), None, "default").unwrap();
    let refused = plain.ask(Method::POST, api::paths::JOIN, Default::default()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sites_are_not_reached_at_one_place_unless_the_first_is_gone() {
    let machine = Machine::new().await;
    let (a, b) = (machine.join("a").await, machine.join("b").await);
    let (first, held) = machine.session(&a, "a", Some(9)).await.unwrap();
    assert!(matches!(first, FromControl::Welcome { .. }));

    let (second, _) = machine.session(&b, "b", Some(9)).await.unwrap();
    let FromControl::Refused(problem) = second else { panic!("{second:?}") };
    assert!(problem.kind == ErrorKind::Conflict && problem.message.contains("`a`"), "{problem:?}");
    let (elsewhere, _) = machine.session(&b, "b", Some(10)).await.unwrap();
    let FromControl::Welcome { desired, .. } = elsewhere else { panic!("{elsewhere:?}") };
    assert!(desired.peers.iter().any(|peer| peer.site == "a"));

    // The machine of `a` is `b` from here on: what is at that place is expected to be `b`.
    drop(held);
    let peers = loop {
        let answer = machine.session(&b, "b", Some(9)).await.unwrap();
        if let (FromControl::Welcome { .. }, held) = answer {
            let c = machine.join("c").await;
            let (welcome, _) = machine.session(&c, "c", None).await.unwrap();
            drop(held);
            let FromControl::Welcome { desired, .. } = welcome else { panic!("{welcome:?}") };
            break desired.peers;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let names: Vec<_> = peers.iter().map(|peer| peer.site.as_str()).collect();
    assert_eq!(names, ["b"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_joins_again_ends_the_session_of_the_former_and_peers_hear_of_its_key() {
    let machine = Machine::new().await;
    let (a, b) = (machine.join("a").await, machine.join("b").await);
    let (_, mut former) = machine.session(&a, "a", Some(9)).await.unwrap();
    let key_of_a = |heard: &FromControl| {
        let FromControl::Welcome { desired, .. } = heard else { panic!("{heard:?}") };
        desired.peers.iter().find(|peer| peer.site == "a").and_then(|peer| peer.key.clone())
    };
    let before = key_of_a(&machine.hello(&b, "b").await.unwrap()).unwrap();

    let started = std::time::Instant::now();
    let again = machine.join("a").await;

    // What the former one served under its lease is over.
    let lease = machine.control.state.config.lease;
    assert!(started.elapsed() >= lease / 2, "{:?}", started.elapsed());
    let last = loop {
        match former.next().await {
            Some(Ok(Message::Text(_) | Message::Ping(_))) => {}
            other => break other,
        }
    };
    assert!(!matches!(last, Some(Ok(Message::Binary(_)))), "{last:?}");
    assert!(welcome(&machine.hello(&again, "a").await));
    let after = key_of_a(&machine.hello(&b, "b").await.unwrap()).unwrap();
    assert_ne!(before, after);
}
