//! Who has no business here is refused at every door.

use crate::{
    http::{Answer, Http},
    world::Continuum,
};
use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt};

fn ask(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut http = Http::connect(address, &address.to_string()).unwrap();
    http.ask("GET", path, headers).unwrap()
}

#[test]
fn strangers_are_refused_at_every_door() {
    let Some(continuum) = Continuum::up() else { return };
    continuum.serve("ledger", &[]);
    let bearer = format!("Bearer {}", continuum.token());
    let site = fs::read_to_string(continuum.data().join("control/site-token")).unwrap();
    let site = format!("Bearer {}", site.trim());
    let (control, services) = (continuum.control(), "/apis/v1/tenants/default/services");

    let rest = |headers: &[(&str, &str)]| ask(control, services, headers).status;
    assert_eq!(rest(&[("authorization", &bearer)]), 200);
    assert_eq!(rest(&[]), 401);
    assert_eq!(rest(&[("authorization", "Bearer 0123456789abcdef")]), 401);
    assert_eq!(rest(&[("authorization", "Basic cm9vdDpyb290")]), 401);
    assert_eq!(rest(&[("authorization", &site)]), 403);
    assert_eq!(rest(&[("authorization", &bearer), ("host", "evil.example")]), 403);
    assert_eq!(rest(&[("authorization", &bearer), ("origin", "http://evil.example")]), 403);
    assert_eq!(rest(&[("authorization", &bearer), ("origin", "null")]), 403);
    let link =
        ask(control, "/apis/v1/link", &[("upgrade", "websocket"), ("connection", "upgrade")]);
    assert_eq!(link.status, 401);
    for path in ["/metrics", "/apis/v1/status", "/apis/v1/blobs/x", "/inno-nbi-api/"] {
        assert_eq!(ask(control, path, &[]).status, 401, "{path}");
    }

    for door in [continuum.ingress(), continuum.site_ingress("edge")] {
        let at = |headers: &[(&str, &str)]| ask(door, "/add", headers).status;
        assert_eq!(at(&[("host", "ledger.localhost")]), 200);
        assert_eq!(
            at(&[("host", "ledger.localhost"), ("origin", "http://ledger.localhost:8080")]),
            200
        );
        assert_eq!(at(&[("host", "absent.localhost")]), 404);
        assert_eq!(at(&[("host", "ledger.other.localhost")]), 404);
        assert_eq!(at(&[]), 404);
        assert_eq!(at(&[("host", "evil.example")]), 403);
        assert_eq!(at(&[("host", "ledger.localhost.evil.example")]), 403);
        assert_eq!(at(&[("host", "ledger.localhost"), ("origin", "http://evil.example")]), 403);
        assert_eq!(at(&[("host", "ledger.localhost"), ("host", "absent.localhost")]), 400);
        let id = "x".repeat(129);
        assert_eq!(at(&[("host", "ledger.localhost"), ("cloudskin-request-id", &id)]), 400);

        // Two lengths: one counts, and what comes behind is never taken for a second request.
        let mut both = Http::connect(door, "ledger.localhost").unwrap();
        let lengths = [("content-length", "3"), ("transfer-encoding", "chunked")];
        both.begin("POST", "/add", &lengths).unwrap();
        both.write(b"3\r\nabc\r\n0\r\n\r\nGET /add HTTP/1.1\r\nhost: ledger.localhost\r\n\r\n")
            .unwrap();
        assert!(matches!(both.finish().unwrap().status, 200 | 400));
        assert!(both.finish().is_err(), "the connection is closed");
    }

    for site in ["cloud", "edge"] {
        let peers = continuum.peers(site);
        for path in ["/peer/v1/checkpoints/x", "/metrics"] {
            assert_eq!(ask(peers, path, &[]).status, 401, "{site} {path}");
            assert_eq!(
                ask(peers, path, &[("authorization", &bearer)]).status,
                401,
                "{site} {path}"
            );
        }
    }
    let secrets = ["control/token", "control/site-token", "sites/edge/workers/t-default.token"];
    for secret in secrets.map(|secret| continuum.data().join(secret)) {
        let mode = fs::metadata(&secret).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", secret.display());
    }
    assert_eq!(fs::metadata(continuum.data()).unwrap().permissions().mode() & 0o777, 0o700);
}
