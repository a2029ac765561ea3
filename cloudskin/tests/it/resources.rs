//! Commands on resources.

use crate::{Fixture, command, finish};
use api::{Kind, Resource};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::AsyncReadExt;

const SERVICE: &str = "
apiVersion: cloudskin.eu/v1alpha1
kind: Service
metadata: {name: street-counter, labels: {app: video}}
spec: {module: counter.wasm, resources: {memory: 64Mi}}
---
apiVersion: cloudskin.eu/v1alpha1
kind: Site
metadata: {name: edge}
";

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test]
async fn files_are_applied_and_their_modules_uploaded_once() {
    let fixture = Fixture::new().await;
    fixture.write("service.yaml", SERVICE);
    fixture.write("counter.wasm", b"\0asm\x01\0\0\0");

    let dry = fixture.run("apply -f service.yaml --dry-run").await.ok();
    assert_eq!(dry, "service/street-counter created (dry run)\nsite/edge created (dry run)\n");
    assert_eq!(fixture.run("get services -o name").await.ok(), "");

    let first = fixture.run("apply -f service.yaml").await.ok();
    assert_eq!(first, "service/street-counter created\nsite/edge created\n");
    let again = fixture.feed("apply -f -", SERVICE).await.ok();
    assert_eq!(again, "service/street-counter unchanged\nsite/edge unchanged\n");
    fixture.write("service.yaml", SERVICE.replace("64Mi", "128Mi"));
    let changed = json(&fixture.run("apply -f service.yaml -o json").await.ok());
    assert_eq!(changed[0]["change"], "configured");
    assert_eq!(changed[1]["change"], "unchanged");

    let stored = json(&fixture.run("get service/street-counter -o json").await.ok());
    let module = stored["spec"]["module"].as_str().unwrap();
    assert!(module.starts_with("counter.wasm@sha256:"), "{module}");
    assert_eq!(fixture.control.store.lock().unwrap().uploads, 1);
}

#[tokio::test]
async fn nothing_is_sent_when_any_document_is_wrong() {
    let fixture = Fixture::new().await;
    fixture.write("service.yaml", format!("{SERVICE}---\nkind: Service\n"));
    fixture.write("counter.wasm", "not a module");

    let wrong = fixture.run("apply -f service.yaml").await;
    fixture.write("service.yaml", SERVICE);
    let module = fixture.run("apply -f service.yaml").await;
    let absent = fixture.run("apply -f absent.yaml").await;

    assert_eq!((wrong.code, module.code, absent.code), (2, 2, 3));
    assert!(wrong.err.starts_with("error: ") && wrong.err.contains("service.yaml"), "{wrong:?}");
    assert!(module.err.contains("not a WebAssembly module"), "{module:?}");
    assert!(fixture.control.store.lock().unwrap().items.is_empty());
}

#[tokio::test]
async fn a_refusal_is_told_in_its_words_and_by_its_code() {
    let fixture = Fixture::new().await;
    let site = SERVICE.split("---").nth(1).unwrap();
    let conflict = site.replace("{name: edge}", "{name: edge, annotations: {forbidden: 'yes'}}");

    let conflict = fixture.feed("apply -f -", &conflict).await;
    let mut stranger = command(fixture.home.path());
    stranger.env("CLOUDSKIN_URL", &fixture.url).env("CLOUDSKIN_TOKEN", "guess");
    let stranger = finish(stranger, "get sites", "").await;
    let nobody =
        finish(command(fixture.home.path()), "--url http://127.0.0.1:1 get sites", "").await;

    assert_eq!(conflict.code, 4);
    assert_eq!(conflict.err, "error: somebody else was faster\n");
    assert_eq!((stranger.code, nobody.code), (5, 6), "{stranger:?} {nobody:?}");
    assert!(nobody.err.contains("cloudskin up") && nobody.err.contains("refused"), "{nobody:?}");
}

#[tokio::test]
async fn a_diff_shows_what_an_apply_would_change() {
    let fixture = Fixture::new().await;
    fixture.write("service.yaml", SERVICE);
    fixture.write("counter.wasm", b"\0asm\x01\0\0\0");

    let new = fixture.run("diff -f service.yaml").await;
    fixture.run("apply -f service.yaml").await.ok();
    let same = fixture.run("diff -f service.yaml").await;
    fixture.write("service.yaml", SERVICE.replace("64Mi", "128Mi"));
    let changed = fixture.run("diff -f service.yaml").await;
    let absent = fixture.run("diff -f absent.yaml").await;

    assert_eq!((new.code, same.code, changed.code, absent.code), (1, 0, 1, 3));
    assert_eq!(same.out, "");
    assert!(changed.out.contains("-    memory: 64Mi\n+    memory: 128Mi\n"), "{}", changed.out);
    assert!(new.out.contains("+  name: street-counter\n"), "{}", new.out);
}

#[tokio::test]
async fn resources_are_shown_as_asked_for() {
    let fixture = Fixture::new().await;
    fixture.control.service("counter", json!({"phase": "Ready", "site": "edge", "epoch": 3, "requestsAnswered": 42, "url": "http://counter.localhost:8080/"}));
    fixture.control.service("other", json!({"phase": "Migrating", "migration": {"id": "m", "from": "edge", "to": "cloud", "epoch": 2, "started": 1, "decision": "d"}}));

    let table = fixture.run("get services").await.ok();
    let lines: Vec<Vec<_>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NAME", "PHASE", "SITE", "EPOCH", "REQUESTS", "AGE"]);
    assert_eq!(lines[1][..5], ["counter", "Ready", "edge", "3", "42"]);
    assert!(table.contains("edge → cloud"), "{table}");

    let wide = fixture.run("get services -l app=counter -o wide").await.ok();
    assert!(wide.contains("http://counter.localhost:8080/") && !wide.contains("other"), "{wide}");
    assert_eq!(fixture.run("get services -o name").await.ok(), "service/counter\nservice/other\n");
    let list = json(&fixture.run("get service -o json").await.ok());
    assert_eq!(list["items"][1]["metadata"]["name"], "other");
    let yaml = fixture.run("get services counter other -o yaml").await.ok();
    assert_eq!(yaml.matches("apiVersion: cloudskin.eu/v1alpha1").count(), 2);
    assert_eq!(yaml.matches("\n---\n").count(), 1);
    let absent = fixture.run("get service/absent").await;
    assert_eq!((absent.code, absent.err.as_str()), (3, "error: there is no `service/absent`\n"));
    assert_eq!(fixture.run("get blocks").await.err, "there are no blocks\n");
    assert_eq!(fixture.run("--tenant blue get services").await.ok(), "");
}

#[tokio::test]
async fn a_watch_shows_every_change() {
    let fixture = Fixture::new().await;
    fixture.control.service("counter", json!({"phase": "Starting"}));
    let mut command = command(fixture.home.path());
    command.env("CLOUDSKIN_URL", &fixture.url).env("CLOUDSKIN_TOKEN", crate::TOKEN);
    let mut child = command.args(["get", "services", "-w"]).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut seen = Vec::new();
    let mut until = async |word: &str| {
        while !String::from_utf8_lossy(&seen).contains(word) {
            let reading = tokio::time::timeout(Duration::from_secs(10), stdout.read_buf(&mut seen));
            assert_ne!(reading.await.expect("a change is shown").unwrap(), 0);
        }
    };

    until("Starting").await;
    fixture.control.service("counter", json!({"phase": "Ready"}));
    until("Ready").await;
    fixture.control.remove(Kind::Service, "counter");
    until("deleted").await;
}

#[tokio::test]
async fn a_description_names_what_was_lost_and_decided() {
    let fixture = Fixture::new().await;
    let decision = json!({"action": "place", "subject": "service/counter", "by": "planner", "reason": "edge has room", "at": 1});
    let mut decision = Resource::new(Kind::Decision, "default", "d-0", &decision);
    decision.status = json!({"outcome": "done"});
    fixture.control.put(decision);
    fixture.control.service("counter", json!({
        "phase": "Failed", "decisions": ["d-0"],
        "lost": [{"epoch": 2, "incarnation": 1, "at": 5, "count": 2, "requestIds": ["r-1", "r-2"]}],
        "conditions": [{"type": "Ready", "status": false, "reason": "Trap", "message": "it trapped\u{1b}[31m", "lastTransitionTime": 5}],
    }));

    let text = fixture.run("describe service/counter").await.ok();

    for part in [
        "Labels:       app=counter",
        "module: ",
        "phase: Failed",
        "Trap, it trapped",
        "r-1, r-2",
        "place by planner: edge has room (done)",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    assert!(!text.contains('\x1b'), "what others wrote does not steer the terminal");
    assert!(!text.contains("migration: null"), "{text}");
}

#[tokio::test]
async fn what_is_deleted_is_gone_when_the_command_returns() {
    let fixture = Fixture::new().await;
    for name in ["a", "b"] {
        fixture.control.service(name, json!({}));
    }

    assert_eq!(fixture.run("delete service/a").await.ok(), "service/a deleted\n");
    assert_eq!(fixture.run("delete service/a").await.code, 3);
    let rest = fixture.run("delete service/a service/b --ignore-not-found -o json").await.ok();
    assert_eq!(json(&rest)["deleted"], json!(["service/b"]));
    assert!(fixture.control.store.lock().unwrap().items.is_empty());
}

#[tokio::test]
async fn logs_are_shown_whole() {
    let fixture = Fixture::new().await;
    fixture.control.store.lock().unwrap().log = "one line\nand another\n".into();

    assert_eq!(fixture.run("logs service/a").await.ok(), "one line\nand another\n");
    assert_eq!(fixture.run("logs -f service/a").await.ok(), "one line\nand another\n");
    let pieces = fixture.run("logs cell/a -o json").await.ok();
    assert_eq!(
        json(pieces.lines().nth(1).unwrap()),
        json!({"offset": 5, "text": "ine\na", "next": null, "ended": false})
    );
}

#[tokio::test]
async fn waiting_ends_when_it_is_so_or_can_no_longer_be() {
    let fixture = Fixture::new().await;
    fixture.control.service("counter", json!({"phase": "Starting"}));

    let late = fixture.run("wait --for ready service/counter --timeout 50ms").await;
    assert_eq!(late.code, 7, "{late:?}");
    assert!(late.err.contains("was not ready within 50ms: it is being started"), "{late:?}");
    let waiting = fixture.run("wait --for ready service/counter --timeout 20s");
    let becoming = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        fixture.control.service("counter", json!({"phase": "Ready"}));
    };
    let (waited, ()) = tokio::join!(waiting, becoming);
    assert_eq!(waited.ok(), "service/counter ready\n");

    fixture.control.service("counter", json!({"phase": "Failed"}));
    let never = fixture.run("wait --for ready service/counter").await;
    assert_eq!(never.code, 1, "{never:?}");
    assert_eq!(fixture.run("wait --for deleted service/absent").await.code, 0);
}

#[tokio::test]
async fn a_migration_is_followed_to_its_end() {
    let fixture = Fixture::new().await;
    fixture.control.service("counter", json!({"phase": "Ready", "site": "edge"}));

    let moved = fixture.run("migrate service/counter --to site/cloud").await.ok();
    let lines: Vec<_> = moved.lines().collect();
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["prepare", "12", "ms"]);
    assert_eq!(lines[1].split_whitespace().collect::<Vec<_>>(), ["transfer", "200", "ms"]);
    assert!(lines[2].starts_with("service/counter is at site/cloud after "), "{moved}");
    assert!(lines[2].contains("it stood for 3.40 ms; 1024 KiB sent while it ran"), "{moved}");

    let failed = fixture.run("migrate service/counter --to full").await;
    assert_eq!(failed.code, 1);
    assert!(
        failed.err.contains("service/counter to site/full did not happen, it is served on by site/edge: rolled back: site `full` has no memory left"),
        "{failed:?}"
    );
    assert_eq!(fixture.run("migrate service/counter --to nowhere").await.code, 3);
    assert_eq!(fixture.run("migrate site/edge --to cloud").await.code, 2);

    let why = fixture.run("why service/counter").await.ok();
    assert!(why.contains("because   it was asked for"), "{why}");
    assert!(why.contains("outcome   rolled back after 312 ms"), "{why}");
    assert_eq!(fixture.run("why decision/d-1 --last 1").await.code, 0);
    assert_eq!(fixture.run("why service/absent").await.code, 3);
}

#[tokio::test]
async fn a_snapshot_is_a_private_file() {
    let fixture = Fixture::new().await;
    let path = fixture.home.path().join("counter.snapshot");

    let text = fixture.run("snapshot service/counter -f counter.snapshot").await.ok();
    let again = fixture.run("snapshot service/counter -f counter.snapshot").await;
    let piped = fixture.run("snapshot service/counter -f -").await.ok();

    assert!(text.contains("sha256:"), "{text}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "the state of a cell");
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&path).unwrap());
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(again.code, 4);
    assert_eq!(piped, "the state of a cell");
}

#[tokio::test]
async fn top_shows_rates_and_reservations() {
    let fixture = Fixture::new().await;
    let mut site = Resource::new(Kind::Site, "default", "edge", &json!({}));
    site.status = json!({"ready": true, "cpu": "2", "memory": "1Gi"});
    fixture.control.put(site);
    let busy = |count: u64, at_ms: u64| {
        fixture.control.service(
            "counter",
            json!({"site": "edge", "phase": "Ready", "requestsAnswered": count,
                   "countedAt": at_ms, "cpuUs": count * 1000, "memory": "3Mi"}),
        );
    };
    busy(100, 5000);

    let looking = fixture.run("top --interval 300ms -o json");
    let working = async {
        tokio::time::sleep(Duration::from_millis(150)).await;
        // The site counts when it likes, not when it is looked at.
        busy(400, 7000);
    };
    let (seen, ()) = tokio::join!(looking, working);

    let seen = json(&seen.ok());
    assert_eq!(seen["sites"][0]["cpuReserved"], "500m");
    let service = &seen["services"][0];
    assert_eq!(
        (&service["requestsPerSecond"], &service["cpuUsed"]),
        (&json!(150.0), &json!("150m"))
    );
    assert_eq!(service["memoryUsed"], "3Mi");
    assert_eq!(service["memoryReserved"], "64Mi");
}
