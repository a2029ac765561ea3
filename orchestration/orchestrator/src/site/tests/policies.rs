//! Policies that a site asks while it is cut off.

use super::*;
use api::link::{PolicyAssignment, PolicyPlace};
use serde_json::{Value, json};
use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::{Arc, Mutex},
};

/// Takes what webhooks say.
fn listener() -> (String, Arc<Mutex<Vec<Value>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/decided", listener.local_addr().unwrap());
    let heard: Arc<Mutex<Vec<Value>>> = Arc::default();
    let hears = heard.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut text = Vec::new();
            let mut part = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut part) {
                text.extend_from_slice(&part[..count]);
                let body = text.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
                let document = body.and_then(|at| serde_json::from_slice(&text[at..]).ok());
                if let Some(document) = document {
                    hears.lock().unwrap().push(document);
                    let answer = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
                    let _ = stream.write_all(answer);
                    break;
                }
            }
        }
    });
    (url, heard)
}

fn assigned(url: &str) -> PolicyAssignment {
    let spec = json!({
        "service": "echo", "sla": "50ms", "sensors": [{"every": "1s"}],
        "pipeline": {"window": "5s", "horizon": {"from": "0s", "to": "2s"}},
        "conditions": {"go": "here.predicted > 0.5"},
        "actuators": ["migrate", "notify", {"webhook": {"url": url}}],
    });
    PolicyAssignment {
        tenant: "default".into(),
        name: "qos".into(),
        uid: "uid-qos".into(),
        generation: 1,
        service: "uid-echo".into(),
        spec: serde_json::from_value(spec).unwrap(),
        model: None,
        places: vec![PolicyPlace { site: "cloud".into(), edge: false }],
        moves: Vec::new(),
    }
}

#[test]
fn a_site_that_is_cut_off_goes_on_deciding_and_tells_of_it_in_order() {
    let (url, heard) = listener();
    let control = Control::new(&token(), LEASE);
    let mut agent = Agent::start_with(&control, "edge", 2, |config| {
        config.limits.policies_after = Duration::from_millis(500);
    });
    let wanted = assignment(&control, "echo", 1);
    control.desire("edge", |desired| desired.services.push(wanted));
    wait_for(&control, "edge", "uid-echo", HeldState::Serving);
    control.desire("edge", |desired| desired.policies = vec![assigned(&url)]);
    let busy = |agent: &Agent| {
        assert_eq!(agent.get("echo.localhost", "/slow").status, 200);
    };
    for _ in 0..3 {
        busy(&agent);
    }
    assert!(control.decided("edge").is_empty(), "the control plane decides while it is there");

    control.set_open(false);
    wait_until("it decides by itself", LIMIT, || {
        busy(&agent);
        heard.lock().unwrap().iter().any(|one| one["to"] == "cloud")
    });
    {
        let heard = heard.lock().unwrap();
        let said = heard.iter().find(|one| one["to"] == "cloud").unwrap();
        assert_eq!((&said["site"], &said["cutOff"]), (&json!("edge"), &json!(true)));
        assert!(said["reason"].as_str().unwrap().contains("waits for the control plane"), "{said}");
    }
    // It is killed, and what it decided is remembered; the policy too, so that it goes on.
    agent.kill();
    agent.restart();
    let before = heard.lock().unwrap().len();
    wait_until("it decides after a restart, too", LIMIT, || {
        agent.get("echo.localhost", "/slow");
        heard.lock().unwrap().len() > before
    });
    assert!(control.decided("edge").is_empty());

    control.set_open(true);
    wait_until("it tells of all that it decided", LIMIT, || {
        control.decided("edge").len() >= heard.lock().unwrap().len()
    });
    let told = control.decided("edge");
    assert!(told.iter().any(|one| one.go.as_deref() == Some("cloud")));
    assert!(told.windows(2).all(|two| two[0].spec.at <= two[1].spec.at), "in order");
    let ids: std::collections::BTreeSet<_> = told.iter().map(|one| &one.id).collect();
    assert_eq!(ids.len(), told.len());
    assert!(told.iter().all(|one| one.spec.inputs["cutOff"] == true));
}
