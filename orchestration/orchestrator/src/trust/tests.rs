//! Who is trusted, and who is not.

use super::{
    Authority, Error, Identity, JoinToken, JoinTokens, Party, Registry, SigningRequest,
    identity::new_key, join::Joining, tls,
};
use rustls::ClientConfig;
use std::{
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    sync::Arc,
    time::Duration,
};
use testkit::Folder;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

const HOUR: Duration = Duration::from_secs(3600);

fn identity(folder: &Path, site: &str, validity: Duration) -> Arc<Identity> {
    let authority = Authority::open(folder).unwrap();
    let path = folder.join(format!("{site}-{}.json", types::random_id()));
    Arc::new(Identity::with_validity(&authority, folder, site, &path, validity).unwrap())
}

/// An identity that another authority made, which trusts this one: so that it is the server that
/// must refuse it.
fn forged(folder: &Path, other: &Path, site: &str) -> Arc<Identity> {
    let foreign = Authority::open(other).unwrap();
    let path = folder.join(format!("forged-{site}.json"));
    Identity::with_validity(&foreign, other, site, &path, HOUR).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let mut document: serde_json::Value = serde_json::from_str(&text).unwrap();
    document["authority"] = Authority::open(folder).unwrap().pem().into();
    std::fs::write(&path, document.to_string()).unwrap();
    Arc::new(Identity::load(&path).unwrap())
}

/// Lets one connection in; who came, or that they were refused.
async fn greet(acceptor: TlsAcceptor, config: Arc<ClientConfig>, party: Party) -> Greeted {
    meet(acceptor, config, tls::Expected { party, key: None }).await
}

async fn meet(
    acceptor: TlsAcceptor,
    config: Arc<ClientConfig>,
    expected: tls::Expected,
) -> Greeted {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = async {
        let mut stream = tls::accept(&acceptor, listener.accept().await.unwrap().0).await.ok()?;
        stream.shutdown().await.ok()?;
        tls::caller(&stream).ok().map(|caller| caller.map(|caller| caller.party))
    };
    let client = async {
        let mut stream =
            tls::connect(&config, address, &expected).await.map_err(|e| e.to_string())?;
        // In TLS 1.3 a client learns with the first byte that it was refused.
        let mut nothing = [0];
        stream.read(&mut nothing).await.map(drop).map_err(|error| error.to_string())
    };
    let (server, client) = tokio::join!(server, client);
    Greeted { server, client }
}

struct Greeted {
    /// Nothing if the server refused.
    server: Option<Option<Party>>,
    client: Result<(), String>,
}

#[test]
fn an_authority_is_made_once_and_kept_private() {
    let folder = Folder::new();

    let first = Authority::open(folder.path()).unwrap();
    let second = Authority::open(folder.path()).unwrap();

    assert_eq!(first.fingerprint(), second.fingerprint());
    let file = folder.join("authority.pem");
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    let public = std::fs::read_to_string(first.public_file()).unwrap();
    assert_eq!(public, first.pem());
    assert!(!public.contains("PRIVATE"));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(Authority::open(folder.path()), Err(Error::Exposed { mode: 0o640, .. })));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&file, "-----BEGIN NOTHING-----").unwrap();
    assert!(matches!(Authority::open(folder.path()), Err(Error::Damaged { .. })));
}

#[tokio::test]
async fn sites_know_each_other_by_certificates_of_one_authority() {
    let (folder, other) = (Folder::new(), Folder::new());
    let (a, b) = (identity(folder.path(), "a", HOUR), identity(folder.path(), "b", HOUR));
    let site = |name: &str| Party::Site(name.into());
    let own = a.server().unwrap();

    let greeted = greet(own.clone(), b.client(&[tls::PEER]).unwrap(), site("a")).await;
    assert_eq!((greeted.server, greeted.client), (Some(Some(site("b"))), Ok(())));

    // Somebody else is at that address.
    let greeted = greet(own.clone(), b.client(&[tls::PEER]).unwrap(), site("c")).await;
    assert!(greeted.client.is_err() && greeted.server.is_none());
    // A site cannot pass for the control plane.
    let greeted = greet(own.clone(), b.client(&[tls::PEER]).unwrap(), Party::Control).await;
    assert!(greeted.client.is_err());
    // No certificate.
    let ca = Authority::open(folder.path()).unwrap();
    let user = tls::user(tls::roots_of(ca.public_file()).unwrap()).unwrap();
    let mut user = Arc::unwrap_or_clone(user);
    user.alpn_protocols = vec![tls::PEER.to_vec()];
    let greeted = greet(own.clone(), Arc::new(user), site("a")).await;
    assert!(greeted.server.is_none() && greeted.client.is_err());
    // One of another authority, for a name that exists here.
    let foreign = forged(folder.path(), other.path(), "b");
    let greeted = greet(own.clone(), foreign.client(&[tls::PEER]).unwrap(), site("a")).await;
    assert!(greeted.server.is_none() && greeted.client.is_err());
    // And the other way round: that one's server is not taken for a site of this authority.
    let theirs = foreign.server().unwrap();
    let greeted = greet(theirs, a.client(&[tls::PEER]).unwrap(), site("b")).await;
    assert!(greeted.server.is_none() && greeted.client.is_err());
    // One that has expired.
    let late = identity(folder.path(), "late", Duration::ZERO);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let greeted = greet(own.clone(), late.client(&[tls::PEER]).unwrap(), site("a")).await;
    assert!(greeted.server.is_none() && greeted.client.is_err());
    // One of a key that is not the site's any more: it joined again.
    let expected = || {
        let key = Registry::open(folder.path()).unwrap().keys().remove("b");
        tls::Expected { party: site("b"), key }
    };
    let former = identity(folder.path(), "b", HOUR);
    let config = a.client(&[tls::PEER]).unwrap();
    assert!(meet(former.server().unwrap(), config.clone(), expected()).await.client.is_ok());
    let current = identity(folder.path(), "b", HOUR);
    let void = meet(former.server().unwrap(), config.clone(), expected()).await.client.unwrap_err();
    assert!(void.contains("void"), "{void}");
    assert!(meet(current.server().unwrap(), config, expected()).await.client.is_ok());
    // Another protocol.
    let greeted = greet(own, b.client(&[tls::HTTP]).unwrap(), site("a")).await;
    assert!(greeted.server.is_none() && greeted.client.is_err());
}

#[tokio::test]
async fn the_control_plane_is_known_by_its_fingerprint_and_lets_users_in_without_a_certificate() {
    let (folder, other) = (Folder::new(), Folder::new());
    let authority = Arc::new(Authority::open(folder.path()).unwrap());
    let server = || tls::control_server(authority.clone(), [127, 0, 0, 1].into()).unwrap();

    let right = tls::joining(authority.fingerprint()).unwrap();
    let greeted = greet(server(), right, Party::Control).await;
    assert_eq!((greeted.server, greeted.client), (Some(None), Ok(())));

    let wrong = tls::joining(Authority::open(other.path()).unwrap().fingerprint()).unwrap();
    let greeted = greet(server(), wrong, Party::Control).await;
    let error = greeted.client.unwrap_err();
    assert!(error.contains("another control plane") && greeted.server.is_none(), "{error}");

    let user = tls::user(tls::roots_of(authority.public_file()).unwrap()).unwrap();
    let greeted = greet(server(), user, Party::Control).await;
    assert_eq!((greeted.server, greeted.client), (Some(None), Ok(())));
}

#[test]
fn a_join_token_is_used_once_in_time_and_for_its_site() {
    let folder = Folder::new();
    let authority = Authority::open(folder.path()).unwrap();
    let tokens = JoinTokens::open(folder.path()).unwrap();
    let registry = Registry::open(folder.path()).unwrap();
    let joining = |token: &JoinToken, site: &str| {
        let text = token.reveal();
        let secret = text.split('.').nth(1).unwrap().to_owned();
        Joining { secret, request: SigningRequest::new(site, &new_key().unwrap()).unwrap() }
    };
    let redeem = |joining: &Joining, now| tokens.redeem(joining, now, &authority, &registry);
    let create = || tokens.create("edge2", &authority, 1000, HOUR).unwrap();

    let (token, expires) = create();
    assert_eq!(expires, 1000 + 3_600_000);
    assert_eq!(token.reveal().parse::<JoinToken>().unwrap(), token);
    assert!(!format!("{token:?}").contains(token.reveal().split('.').nth(1).unwrap()));
    let stored = std::fs::read_dir(folder.join("join-tokens")).unwrap().next().unwrap().unwrap();
    assert_eq!(stored.metadata().unwrap().mode() & 0o777, 0o600);
    let secret = joining(&token, "edge2").secret;
    assert!(!stored.path().to_string_lossy().contains(&secret));
    assert!(!std::fs::read_to_string(stored.path()).unwrap().contains(&secret));

    // A mistake does not use it up.
    let other = redeem(&joining(&token, "edge3"), 2000).unwrap_err();
    assert!(matches!(other, Error::TokenOfAnother { .. }), "{other}");
    let mut forged = joining(&token, "edge2");
    forged.request = SigningRequest::new("edge3", &new_key().unwrap()).unwrap();
    forged.request.site = "edge2".into();
    assert!(matches!(redeem(&forged, 2000), Err(Error::Request(_))));

    let first = joining(&token, "edge2");
    redeem(&first, 2000).unwrap();
    assert!(matches!(redeem(&first, 2000), Err(Error::TokenUnknown(_))));
    assert!(matches!(redeem(&joining(&token, "edge2"), 2000), Err(Error::TokenUnknown(_))));

    let (late, expires) = create();
    assert!(matches!(redeem(&joining(&late, "edge2"), expires), Err(Error::TokenExpired(_))));
    assert!(matches!(redeem(&joining(&late, "edge2"), 2000), Err(Error::TokenUnknown(_))));
    for wrong in ["", "a.b", "cskjoin1..", "cskjoin1.zz.00", &token.reveal()[1..]] {
        assert!(matches!(wrong.parse::<JoinToken>(), Err(Error::NoToken)), "{wrong}");
    }
}

#[test]
fn a_name_belongs_to_the_key_that_joined_last() {
    let folder = Folder::new();
    let registry = Registry::open(folder.path()).unwrap();
    let authority = Authority::open(folder.path()).unwrap();
    let certificate = |identity: &Identity| {
        let issued = registry.renew(&authority, &identity.request().unwrap());
        issued.map(|issued| issued.certificate)
    };

    let first = identity(folder.path(), "edge2", HOUR);
    let shown = certificate(&first).unwrap();
    assert!(registry.admits("edge2", &shown) && registry.is_joined("edge2"));
    assert!(!registry.admits("edge3", &shown) && !registry.is_joined("edge3"));

    let second = identity(folder.path(), "edge2", HOUR);
    assert!(!registry.admits("edge2", &shown), "the key before is void");
    assert!(certificate(&first).is_err() && certificate(&second).is_ok());

    registry.forget("edge2").unwrap();
    assert!(certificate(&second).is_err() && !registry.is_joined("edge2"));

    let path = folder.join("local.json");
    Identity::local(&authority, folder.path(), "edge", &path).unwrap();
    assert!(!registry.is_joined("edge"), "this machine's own may also come by loopback");
}

#[test]
fn an_identity_survives_a_restart_and_takes_its_next_certificate() {
    let folder = Folder::new();
    let (authority, registry) =
        (Authority::open(folder.path()).unwrap(), Registry::open(folder.path()).unwrap());
    let path = folder.join("identity.json");
    let own = Identity::with_validity(&authority, folder.path(), "a", &path, HOUR).unwrap();
    assert!(own.wants_renewal());

    let issued = registry.renew(&authority, &own.request().unwrap()).unwrap();
    own.take(&super::Grant::new(&authority, &issued)).unwrap();

    assert!(!own.wants_renewal());
    let again = Identity::load(&path).unwrap();
    assert_eq!((again.site(), again.expires()), ("a", own.expires()));
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    // A certificate of another key, site or authority is not taken.
    let other = identity(folder.path(), "b", HOUR);
    let of_other = registry.renew(&authority, &other.request().unwrap()).unwrap();
    assert!(own.take(&super::Grant::new(&authority, &of_other)).is_err());
    let elsewhere = Folder::new();
    let foreign = Authority::open(elsewhere.path()).unwrap();
    assert!(own.take(&super::Grant::new(&foreign, &issued)).is_err());
}
