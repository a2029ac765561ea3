//! Whom a node lets in, and whom it believes.

use crate::{
    rig::bytes_of,
    sites::{At, FREE, acquaint, at},
};
use geds::{ErrorKind, Limits, Node, Put, Site};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    PKCS_ECDSA_P256_SHA256, PublicKeyData,
};
use sha2::{Digest, Sha256};
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};
use testkit::{Folder, Random, wait_until};
use types::Token;

const LIMIT: Duration = Duration::from_secs(10);

/// An authority that says who is who.
struct Authority {
    key: KeyPair,
    params: CertificateParams,
    folder: Folder,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        Self { key, params, folder: Folder::in_memory() }
    }

    /// The file that a site gets when it joins.
    fn identity(&self, site: &str) -> PathBuf {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params =
            CertificateParams::new(vec![format!("{site}.site.cloudskin.internal")]).unwrap();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let issuer = Issuer::new(self.params.clone(), &self.key);
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let authority = self.params.self_signed(&self.key).unwrap();
        let document = serde_json::json!({
            "site": site,
            "key": key.serialize_pem(),
            "certificate": certificate.pem(),
            "authority": authority.pem(),
            "expires": 0,
        });
        let path = self.folder.join(format!("{site}.json"));
        fs::write(&path, document.to_string()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn at(&self, site: &str) -> At {
        at(Site::secured(self.identity(site)).unwrap())
    }
}

#[test]
fn sites_of_one_authority_use_each_other_over_tls() {
    let authority = Authority::new();
    let (cloud, edge) = (authority.at("cloud"), authority.at("edge"));
    acquaint(&[("cloud", &cloud), ("edge", &edge)]);
    cloud.geds.create_bucket("frames").unwrap();
    for len in [0, 10, 300_000, 5_000_000] {
        let key = format!("k{len}");
        cloud.geds.put("frames", &key, &bytes_of(&key, len), Put::default()).unwrap();
        assert_eq!(*edge.geds.view("frames", &key).unwrap(), bytes_of(&key, len));
        let object = edge.geds.object_uncached("frames", &key).unwrap();
        assert_eq!(*object.bytes().unwrap(), bytes_of(&key, len));
    }
    edge.geds.put("frames", "e", &bytes_of("e", 1 << 20), Put::default()).unwrap();
    assert_eq!(*cloud.geds.view("frames", "e").unwrap(), bytes_of("e", 1 << 20));
}

#[test]
fn strangers_are_not_let_in() {
    let authority = Authority::new();
    let cloud = authority.at("cloud");
    cloud.geds.create_bucket("frames").unwrap();
    cloud.geds.put("frames", "k", b"secret", Put::default()).unwrap();
    let other = Authority::new();
    let strangers = [
        ("another authority's", at(Site::secured(other.identity("edge")).unwrap())),
        ("one that is not known", authority.at("unknown")),
        ("one without a certificate", at(Site::plain("edge"))),
    ];
    for (who, stranger) in &strangers {
        cloud.node.set_peer("edge", Some(stranger.address)).unwrap();
        stranger.node.set_peer("cloud", Some(cloud.address)).unwrap();
        let refused = stranger.geds.view("frames", "k").unwrap_err();
        assert!(
            matches!(refused.kind(), ErrorKind::Unavailable | ErrorKind::Forbidden),
            "{who}: {refused}"
        );
    }
    // Who is at the address of another site is not that one.
    let edge = authority.at("edge");
    cloud.node.set_peer("edge", Some(edge.address)).unwrap();
    edge.node.set_peer("far", Some(cloud.address)).unwrap();
    assert_eq!(edge.geds.view("frames", "k").unwrap_err().kind(), ErrorKind::Unavailable);
    edge.node.set_peer("far", None).unwrap();
    edge.node.set_peer("cloud", Some(cloud.address)).unwrap();
    assert_eq!(*edge.geds.view("frames", "k").unwrap(), *b"secret");

    let exposed = authority.identity("exposed");
    fs::set_permissions(&exposed, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(Site::secured(exposed).unwrap_err().kind(), ErrorKind::Forbidden);
}

/// What the control plane calls the key of an identity.
fn key_of(identity: &Path) -> String {
    let text = fs::read_to_string(identity).unwrap();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    let key = KeyPair::from_pem(document["key"].as_str().unwrap()).unwrap();
    Sha256::digest(key.subject_public_key_info()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_name_belongs_to_one_key() {
    let authority = Authority::new();
    let cloud = authority.at("cloud");
    // The file is read again for each connection.
    let first = authority.folder.join("first.json");
    fs::rename(authority.identity("edge"), &first).unwrap();
    let (old_key, old) = (key_of(&first), at(Site::secured(&first).unwrap()));
    let second = authority.identity("edge");
    let (new_key, new) = (key_of(&second), at(Site::secured(&second).unwrap()));
    cloud.geds.create_bucket("frames").unwrap();
    cloud.geds.put("frames", "k", b"secret", Put::default()).unwrap();
    cloud.geds.put("frames", "later", b"secret", Put::default()).unwrap();
    for edge in [&old, &new] {
        edge.node.set_peer("cloud", Some(cloud.address)).unwrap();
    }
    cloud.node.set_peer_with_key("edge", old.address, &old_key).unwrap();
    assert_eq!(*old.geds.view("frames", "k").unwrap(), *b"secret");
    assert!(new.geds.view("frames", "k").is_err(), "the name is another one's");

    // Another machine has joined under the name: the connections of the first one end.
    cloud.node.set_peer_with_key("edge", new.address, &new_key).unwrap();
    assert!(old.geds.object_uncached("frames", "later").is_err());
    wait_until("it is let in", LIMIT, || new.geds.view("frames", "k").is_ok());
    new.geds.create_bucket("own").unwrap();
    new.geds.put("own", "k", b"new", Put::default()).unwrap();
    assert_eq!(*cloud.geds.view("own", "k").unwrap(), *b"new");
    // Nor is it believed where the former one still answers.
    cloud.node.set_peer_with_key("edge", old.address, &new_key).unwrap();
    assert_eq!(cloud.geds.view("own", "other").unwrap_err().kind(), ErrorKind::Unavailable);
}

#[test]
fn without_certificates_a_token_is_asked_for() {
    let token = Token::random();
    let site = |name: &str, token: &Token| at(Site::plain(name).token(token.clone()));
    let (cloud, edge) = (site("cloud", &token), site("edge", &token));
    let strangers = [site("edge", &Token::random()), at(Site::plain("edge"))];
    cloud.geds.create_bucket("frames").unwrap();
    cloud.geds.put("frames", "k", b"secret", Put::default()).unwrap();
    for stranger in &strangers {
        cloud.node.set_peer("edge", Some(stranger.address)).unwrap();
        stranger.node.set_peer("cloud", Some(cloud.address)).unwrap();
        assert!(stranger.geds.view("frames", "k").is_err());
    }
    cloud.node.set_peer("edge", Some(edge.address)).unwrap();
    edge.node.set_peer("cloud", Some(cloud.address)).unwrap();
    assert_eq!(*edge.geds.view("frames", "k").unwrap(), *b"secret");
}

#[test]
fn without_certificates_nodes_speak_on_loopback_alone() {
    let folder = Folder::in_memory();
    let node = Node::start(folder.join("node")).unwrap();
    let wide = "0.0.0.0:0".parse().unwrap();
    let refused = node.join_sites(Site::plain("cloud").listen(wide));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
    let away = "192.0.2.1:9".parse().unwrap();
    node.join_sites(Site::plain("cloud").peer("edge", away)).unwrap();
    let geds = node.geds("lab", &Limits::default()).unwrap();
    let error = geds.view("frames", "k").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(node.join_sites(Site::plain("again").listen(FREE)).is_err());
    assert!(
        node.set_peer("cloud", Some(FREE)).is_err() && node.set_peer("a/b", Some(FREE)).is_err()
    );
}

#[test]
fn whatever_comes_to_the_listener_others_are_served() {
    let (cloud, edge) = (at(Site::plain("cloud")), at(Site::plain("edge")));
    acquaint(&[("cloud", &cloud), ("edge", &edge)]);
    cloud.geds.create_bucket("frames").unwrap();
    let mut greeting = b"CSKGEDSN\x01\0\0\0\0\0\0\0".to_vec();
    let mut random = Random::printed("listener");
    let mut silent = Vec::new();
    for round in 0..60 {
        let mut stream = TcpStream::connect(cloud.address).unwrap();
        let mut bytes: Vec<u8> = (0..200).map(|_| random.next_u64() as u8).collect();
        if round % 3 == 0 {
            bytes.splice(..0, greeting.iter().copied());
        }
        if round % 2 == 0 {
            let _ = stream.write_all(&bytes);
        }
        silent.push(stream);
    }
    // A frame that says to be 4 GiB long is not waited for.
    let mut stream = TcpStream::connect(cloud.address).unwrap();
    greeting.extend([255; 20]);
    stream.write_all(&greeting).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert_eq!(answer.len(), 16, "it greets and goes");
    cloud.geds.put("frames", "k", b"x", Put::default()).unwrap();
    assert_eq!(*edge.geds.view("frames", "k").unwrap(), *b"x");
}
