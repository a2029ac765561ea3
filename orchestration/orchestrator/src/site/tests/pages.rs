//! Status pages of services become numbers that the control plane is told.

use super::*;
use api::link::{Call, Reply};
use testkit::wait_until;

fn served(control: &Control, last: u8, path: &str, values: serde_json::Value) -> Agent {
    let metrics = serde_json::json!({"path": path, "every": "1s", "values": values});
    serving(control, "edge", last, |wanted| {
        wanted.spec.metrics = Some(serde_json::from_value(metrics).unwrap());
    })
}

fn told(control: &Control) -> String {
    match control.call("edge", Call::Metrics) {
        Ok(Reply::Metrics { text }) => text,
        other => panic!("{other:?}"),
    }
}

fn problem(control: &Control) -> Option<String> {
    control.held("edge", "uid-echo").and_then(|held| held.page)
}

#[test]
fn a_page_is_fetched_from_the_cell_and_told_with_its_labels_and_times() {
    let control = Control::new(&token(), LEASE);
    let agent =
        served(&control, 2, "/status", serde_json::json!({"asked": "/count", "gone": "/x"}));
    wait_until("it was read", LIMIT, || problem(&control).is_some());

    assert_eq!(problem(&control).unwrap(), "`gone`: there is nothing at `/x`");
    let mut all = String::new();
    wait_until("some pages were told", LIMIT, || {
        all.push_str(&told(&control));
        all.matches("asked{").count() >= 4
    });
    let labels = "asked{tenant=\"default\",service=\"echo\",cell=\"1.1\"}";
    let lines: Vec<_> = all.lines().filter(|line| line.starts_with(labels)).collect();
    assert!(lines.iter().any(|line| line.split(' ').count() == 3), "with its time: {lines:#?}");
    assert!(lines.iter().any(|line| line.split(' ').count() == 2), "now: {lines:#?}");
    assert!(all.contains("# TYPE asked gauge\n"), "{all}");
    assert!(
        all.contains(
            "cloudskin_service_page_failures_total{tenant=\"default\",service=\"echo\"} 0"
        )
    );
    // What users asked is not counted with it.
    let count =
        |all: &str| all.lines().rfind(|line| line.contains("class=\"2xx\"")).map(str::to_owned);
    assert!(count(&all).unwrap().ends_with(" 0"), "{all}");
    assert_eq!(agent.get("echo", "/").status, 200);
}

#[test]
fn pages_that_fail_are_said_and_the_service_goes_on() {
    for (last, path, why) in [
        (3, "/hang", "was not answered within 1000 ms"),
        (4, "/informational", "answers 101, and not 200"),
        (5, "/moved", "redirects are not followed"),
        (6, "/huge", "has 300000 bytes"),
        (7, "/guest", "the cell trapped"),
        (8, "/d", "is no JSON"),
    ] {
        let control = Control::new(&token(), LEASE);
        let agent = served(&control, last, path, serde_json::json!({"asked": "/count"}));
        wait_until("it was tried", LIMIT, || problem(&control).is_some());

        assert!(problem(&control).unwrap().contains(why), "{path}: {:?}", problem(&control));
        assert!(!told(&control).contains("asked{"));
        assert_eq!(agent.get("echo", "/").status, 200);
    }
}
