//! Services and cells as they are meant to be.

use super::*;
use api::link::{Call, CellAssignment, Reply};
use testkit::wait_until;
use types::ErrorKind;

#[test]
fn serves_what_is_desired_and_stops_what_is_not() {
    let control = Control::new(&token(), LEASE);
    let agent = serving(&control, "edge", 2, |_| {});
    let mut connection = agent.connect();

    let first = connection.ask("POST", "echo.localhost:8080", "/a?b=c", &[], b"hello");
    let second = connection.ask("GET", "echo.default.svc.cloudskin.internal", "/d", &[], b"");

    assert_eq!((first.status, first.body.as_str()), (200, "1 POST /a?b=c 5"));
    assert_eq!(first.header("cloudskin-epoch"), Some("1"));
    assert_eq!(first.header("cloudskin-incarnation"), Some("1"));
    assert_eq!(first.header("cloudskin-site"), Some("edge"));
    assert_eq!(first.header("cloudskin-request-id").map(str::len), Some(32));
    assert_eq!(second.body, "2 GET /d 0");
    let folder = agent.config.data_dir.join("services/uid-echo");
    assert!(folder.exists());

    control.desire("edge", |desired| desired.services.clear());

    wait_until("it is gone", LIMIT, || agent.get("echo.localhost", "/").status == 404);
    wait_until("its state is gone", LIMIT, || !folder.exists());
    wait_until("nobody hears of it", LIMIT, || control.held("edge", "uid-echo").is_none());
}

#[test]
fn a_request_has_one_id_and_one_answer() {
    let control = Control::new(&token(), LEASE);
    let agent = serving(&control, "edge", 2, |_| {});
    let mut connection = agent.connect();
    let id = ("Cloudskin-Request-Id", "frame-7");

    let first = connection.ask("GET", "echo", "/", &[id], b"");
    let again = connection.ask("GET", "echo", "/", &[id], b"");
    let headers = connection.ask(
        "GET",
        "echo",
        "/headers",
        &[id, ("Connection", "x-a"), ("X-A", "1"), ("X-B", "2")],
        b"",
    );
    let fresh =
        connection.ask("GET", "echo", "/headers", &[("Keep-Alive", "1"), ("X-B", "2")], b"");

    assert_eq!(first.body, "1 GET / 0");
    assert_eq!(first.header("cloudskin-request-id"), Some("frame-7"));
    assert_eq!(again.body, first.body);
    assert_eq!(headers.body, first.body);
    assert!(fresh.body.contains("cloudskin-request-id: "), "{}", fresh.body);
    assert!(fresh.body.contains("x-b: 2"), "{}", fresh.body);
    for hop in ["connection", "x-a", "keep-alive"] {
        assert!(!fresh.body.contains(&format!("{hop}: ")), "{}", fresh.body);
    }
    for bad in ["", "a b", &"x".repeat(129), "é"] {
        let answer = agent.connect().ask("GET", "echo", "/", &[("Cloudskin-Request-Id", bad)], b"");
        assert_eq!(answer.status, 400, "{bad}");
    }
    let twice = connection.ask("GET", "echo", "/", &[id, id], b"");
    assert_eq!(twice.status, 400);
}

#[test]
fn refuses_precisely() {
    let control = Control::new(&token(), LEASE);
    let agent = serving(&control, "edge", 2, |wanted| {
        wanted.spec.request_timeout = types::Period::from_millis(100);
    });
    let ask = |host: &str, path: &str, headers: &[(&str, &str)], body: &[u8]| {
        agent.connect().ask("POST", host, path, headers, body)
    };

    let cases = [
        (ask("other.localhost", "/", &[], b""), 404, ErrorKind::NotFound),
        (ask("echo.other.localhost", "/", &[], b""), 404, ErrorKind::NotFound),
        (ask("127.0.0.2", "/", &[], b""), 404, ErrorKind::NotFound),
        (ask("evil.example", "/", &[], b""), 403, ErrorKind::Forbidden),
        (ask("echo", "/", &[("Origin", "http://evil.example")], b""), 403, ErrorKind::Forbidden),
        (ask("echo", "/", &[("Origin", "null")], b""), 403, ErrorKind::Forbidden),
        (ask("echo", "/guest", &[], b""), 502, ErrorKind::Guest),
        (ask("echo", "/full", &[], b""), 429, ErrorKind::Exhausted),
        (ask("echo", "/hang", &[], b""), 504, ErrorKind::Timeout),
        (ask("echo", "/informational", &[], b""), 502, ErrorKind::Guest),
        (ask("echo", "/bad-type", &[], b""), 502, ErrorKind::Guest),
        (ask("echo", "/", &[], &[0; 1025]), 413, ErrorKind::Invalid),
        (ask("echo", "/", &[("Cloudskin-Forwarded", "x")], b""), 400, ErrorKind::Invalid),
    ];
    for (answer, status, kind) in &cases {
        assert_eq!((answer.status, answer.problem().kind), (*status, *kind), "{answer:?}");
        assert_eq!(answer.header("cloudskin-site"), Some("edge"));
        assert!(answer.header("cloudskin-request-id").is_some());
    }
    assert!(cases[11].0.problem().message.contains("1025 bytes"), "{:?}", cases[11].0);
    assert_eq!(ask("echo", "/", &[("Origin", "http://echo.localhost:8080")], b"").status, 200);
    assert_eq!(ask("echo", "/", &[("Origin", "http://127.0.0.1:9")], b"").status, 200);
    assert_eq!(ask("echo", "/", &[], &[0; 1024]).status, 200);
}

#[test]
fn smuggled_and_broken_requests_reach_nobody() {
    let control = Control::new(&token(), LEASE);
    let agent = serving(&control, "edge", 2, |_| {});
    let raw = |text: &str| {
        let mut connection = agent.connect();
        connection.send(text.as_bytes());
        let answer = connection.answer();
        answer.map(|answer| (answer.status, answer.body))
    };
    let smuggled = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: echo\r\n\r\n";

    for text in [
        "GET / HTTP/1.1\r\nHost: echo\r\nHost: echo\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        "CONNECT echo:80 HTTP/1.1\r\nHost: echo\r\n\r\n".to_owned(),
        "POST / HTTP/1.1\r\nHost: echo\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"
            .into(),
        "POST / HTTP/1.1\r\nHost: echo\r\nContent-Length: +3\r\n\r\nabc".into(),
        format!("GET / HTTP/1.1\r\nHost: echo\r\nX: {}\r\n\r\n", "x".repeat(100_000)),
        "nonsense\r\n\r\n".into(),
    ] {
        let status = raw(&text).map(|(status, _)| status);
        assert!(status.is_none_or(|status| (400..500).contains(&status)), "{text}: {status:?}");
    }
    // Both lengths: whichever is believed, what follows is no second request.
    let both = format!(
        "POST /first HTTP/1.1\r\nHost: echo\r\nContent-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n{smuggled}",
        smuggled.len()
    );
    let mut connection = agent.connect();
    connection.send(both.as_bytes());
    let first = connection.answer();
    assert!(
        first
            .is_none_or(|first| first.status == 400 || first.header("connection") == Some("close"))
    );
    // Bytes in chunks arrive as one body.
    let chunked = "POST /c HTTP/1.1\r\nHost: echo\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    let (status, body) = raw(chunked).unwrap();
    assert_eq!(status, 200);
    assert!(body.ends_with("POST /c 5"), "{body}");
    // Too many bytes in chunks are refused before they are all here.
    let endless = format!(
        "POST / HTTP/1.1\r\nHost: echo\r\nTransfer-Encoding: chunked\r\n\r\n800\r\n{}\r\n",
        "x".repeat(2048)
    );
    assert_eq!(raw(&endless).unwrap().0, 413);
    // The absolute form counts, not `Host`.
    let absolute = "GET http://echo.localhost/abs HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    assert!(raw(absolute).unwrap().1.contains("GET /abs 0"));
}

#[test]
fn a_changed_spec_restarts_the_cell_with_its_state_and_another_module_without() {
    let control = Control::new(&token(), LEASE);
    let agent = serving(&control, "edge", 2, |_| {});
    assert_eq!(agent.get("echo", "/").body, "1 GET / 0");
    let incarnation = |control: &Control| control.held("edge", "uid-echo").unwrap().incarnation;

    control.desire("edge", |desired| {
        desired.services[0].spec.env.insert("A".into(), "b".into());
    });
    wait_until("it is restarted", LIMIT, || incarnation(&control) == 2);
    wait_for(&control, "edge", "uid-echo", HeldState::Serving);
    assert_eq!(agent.get("echo", "/").body, "2 GET / 0");
    let module = control.blob(b"another module");
    control.desire("edge", |desired| desired.services[0].module = module);
    wait_until("it is restarted", LIMIT, || incarnation(&control) == 3);
    wait_for(&control, "edge", "uid-echo", HeldState::Serving);

    assert_eq!(agent.get("echo", "/").body, "1 GET / 0");
}

#[test]
fn modules_are_fetched_once_and_checked() {
    let control = Control::new(&token(), LEASE);
    let agent = Agent::start(&control, "edge", 2);
    let wrong = control.blob(b"what it should be");
    control.put(&wrong, b"what it is");
    control.desire("edge", |desired| {
        for name in ["a", "b", "c"] {
            desired.services.push(assignment(&control, name, 1));
        }
        let mut bad = assignment(&control, "bad", 1);
        bad.module = wrong;
        desired.services.push(bad);
    });

    for name in ["a", "b", "c"] {
        wait_for(&control, "edge", &format!("uid-{name}"), HeldState::Serving);
    }
    wait_for(&control, "edge", "uid-bad", HeldState::Failed);

    let message = control.held("edge", "uid-bad").unwrap().message;
    assert!(message.contains("the control plane sent"), "{message}");
    wait_until("it is refused", LIMIT, || agent.get("bad", "/").status == 503);
    assert_eq!(agent.get("bad", "/").header("retry-after"), Some("1"));
    control.put(&wrong, b"what it should be");
    wait_for(&control, "edge", "uid-bad", HeldState::Serving);
    let before = control.blobs_read();
    control.desire("edge", |desired| desired.services.push(assignment(&control, "d", 1)));
    wait_for(&control, "edge", "uid-d", HeldState::Serving);
    assert_eq!(control.blobs_read(), before);
}

#[test]
fn cells_run_once_and_tell_how_they_ended() {
    let control = Control::new(&token(), LEASE);
    let mut agent = Agent::start(&control, "edge", 2);
    let module = control.blob(b"a program");
    let cell = |uid: &str, arg: &str| CellAssignment {
        tenant: "default".into(),
        name: uid.into(),
        uid: uid.into(),
        module,
        ranks: 0,
        incarnation: 0,
        spec: serde_json::from_value(serde_json::json!({
            "module": format!("app.wasm@{module}"), "site": "edge", "args": [arg],
        }))
        .unwrap(),
    };
    control.desire("edge", |desired| {
        desired.cells =
            vec![cell("short", "x"), cell("long", "for-ever"), cell("killed", "for-ever")];
    });

    wait_until("one ends", LIMIT, || {
        control.cell("edge", "short").is_some_and(|cell| cell.exit_code == Some(3))
    });
    wait_until("the others run", LIMIT, || {
        agent.worker_pid("c-long").is_some() && agent.worker_pid("c-killed").is_some()
    });
    let log = Call::Logs { uid: "short".into(), offset: 4, limit: 100 };
    let text = control.call("edge", log).unwrap();
    let expected = Reply::Logs { offset: 4, text: "app.wasm x\n".into(), ended: true };
    assert_eq!(text, expected);
    let logged = agent.config.data_dir.join("cells/killed/log");
    wait_until("it was started", LIMIT, || logged.exists());
    agent.signal_worker("c-killed", rustix::process::Signal::KILL);
    wait_until("its death is told", LIMIT, || {
        control.cell("edge", "killed").is_some_and(|cell| cell.error.is_some())
    });
    // It outlives the agent, and its end is heard by the next one.
    let pid = agent.worker_pid("c-long");
    agent.kill();
    agent.restart();
    wait_until("it is back", LIMIT, || control.connections("edge") == 2);
    assert_eq!(agent.worker_pid("c-long"), pid);
    assert_eq!(control.cell("edge", "long").unwrap().error, None);
    control.desire("edge", |desired| desired.cells.clear());
    wait_until("all is forgotten", LIMIT, || {
        agent.worker_pid("c-long").is_none() && control.cell("edge", "long").is_none()
    });
}

#[test]
fn logs_and_snapshots_reach_the_control_plane() {
    let control = Control::new(&token(), LEASE);
    let agent = serving(&control, "edge", 2, |_| {});
    assert_eq!(agent.get("echo", "/").status, 200);

    let logs = control.call("edge", Call::Logs { uid: "uid-echo".into(), offset: 0, limit: 100 });
    let snapshot = control.call("edge", Call::Snapshot { uid: "uid-echo".into() }).unwrap();
    let nobody = control.call("edge", Call::Snapshot { uid: "nobody".into() }).unwrap_err();

    assert_eq!(logs, Ok(Reply::Logs { offset: 0, text: "a line\n".into(), ended: false }));
    let Reply::Snapshot { digest, size_bytes } = snapshot else { panic!("{snapshot:?}") };
    let stored = control.blob_of(&digest).unwrap();
    assert_eq!(stored.len() as u64, size_bytes);
    assert!(String::from_utf8_lossy(&stored).contains("\"count\":1"));
    assert_eq!(nobody.kind, ErrorKind::NotFound);
    let left = std::fs::read_dir(agent.config.data_dir.join("snapshots")).unwrap().count();
    assert_eq!(left, 0);
}

#[test]
fn watchers_see_health_and_metrics() {
    let control = Control::new(&token(), LEASE);
    let agent = serving(&control, "edge", 2, |_| {});
    assert_eq!(agent.get("echo", "/").status, 200);
    let ask = |path: &str, headers: &[(&str, &str)]| {
        Connection::open(agent.peers).ask("GET", "edge", path, headers, b"")
    };
    let bearer = format!("Bearer {}", token().reveal());

    let health = ask("/healthz", &[]);
    let hidden = ask("/metrics", &[]);
    let forged = ask("/peer/v1/checkpoints/x", &[("Authorization", "Bearer x")]);
    let metrics = ask("/metrics", &[("Authorization", &bearer)]);

    assert_eq!(health.status, 200);
    assert!(health.body.contains("\"connected\":true"), "{}", health.body);
    assert_eq!((hidden.status, forged.status), (401, 401));
    let count =
        r#"cloudskin_ingress_requests_total{tenant="default",service="echo",class="2xx"} 1"#;
    assert!(metrics.body.contains(count), "{}", metrics.body);
    assert!(metrics.body.contains("cloudskin_site_connected 1\n"), "{}", metrics.body);
    assert!(metrics.body.contains("\nprocess_resident_memory_bytes "), "{}", metrics.body);
    assert!(metrics.body.ends_with("# EOF\n"));
    assert_eq!(metrics.body.matches("# EOF").count(), 1);
}
