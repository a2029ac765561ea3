//! What sites measure can be queried.

use super::world::World;
use hyper::Method;
use serde_json::json;

#[tokio::test]
async fn metrics_of_sites_are_series_that_only_users_may_ask_for() {
    let world = World::new().await;
    let user = format!("Bearer {}", world.token);
    let site = format!("Bearer {}", world.site_token);
    let ask = async |query: &str, by: &str| {
        let path = format!("/prometheus/api/v1/query?query={query}");
        world.ask_raw(Method::GET, &path, &[("authorization", by)], Vec::new()).await
    };

    world.scrape().await;

    let (status, answer) = ask("cells", &user).await;
    assert_eq!(status, 200, "{answer}");
    let found = answer["data"]["result"].as_array().unwrap();
    assert_eq!(found.len(), 2, "{answer}");
    let metric = json!({
        "__name__": "cells", "instance": "cloud", "job": "cloudskin-site", "site": "cloud", "tenant": "lab"
    });
    assert!(found.iter().any(|one| one["metric"] == metric && one["value"][1] == "3"), "{answer}");
    let (_, up) = ask("sum(up)", &user).await;
    assert_eq!(up["data"]["result"][0]["value"][1], "3", "{up}");
    let (_, own) = ask("cloudskin_control_sites_connected", &user).await;
    assert_eq!(own["data"]["result"][0]["value"][1], "2", "{own}");
    assert_eq!(ask("up", &site).await.0, 403);
    assert_eq!(ask("sum(", &user).await.0, 400);
}

#[tokio::test]
async fn numbers_of_a_status_page_go_on_at_another_site_and_what_is_wrong_is_said() {
    let world = World::new().await;
    let spec = json!({"placement": {"site": "edge"}, "metrics": {"values": {"queue": "/queue"}}});
    let document = world.document("shop", spec).await;
    assert_eq!(world.apply(&document).await.0, 201);
    world.ready("shop", "edge").await;
    let tell = |site: &str, cell: &str, number: u32| {
        let labels = format!("tenant=\"default\",service=\"shop\",cell=\"{cell}\"");
        let text = format!("# TYPE queue gauge\nqueue{{{labels}}} {number}\n# EOF\n");
        world.site(site).with(|memory| memory.metrics = Some(text));
    };
    let ask = async || {
        let path = "/prometheus/api/v1/query?query=queue{service=\"shop\"}".replace('"', "%22");
        let (status, found) = world.ask(Method::GET, &path, serde_json::Value::Null).await;
        assert_eq!(status, 200, "{found}");
        let each = found["data"]["result"].as_array().unwrap().clone();
        let of = |one: &serde_json::Value| {
            let label = |name: &str| one["metric"][name].as_str().unwrap().to_owned();
            (label("site"), label("cell"), one["value"][1].as_str().unwrap().to_owned())
        };
        each.iter().map(of).collect::<Vec<_>>()
    };
    tell("edge", "1.1", 7);
    world.scrape().await;
    assert_eq!(ask().await, [("edge".to_owned(), "1.1".to_owned(), "7".to_owned())]);

    assert_eq!(world.migrate("shop", "cloud", "?wait=1").await.0, 200);
    world.site("edge").with(|memory| memory.metrics = Some("# EOF\n".into()));
    tell("cloud", "2.0", 9);
    world.scrape().await;

    assert_eq!(ask().await, [("cloud".to_owned(), "2.0".to_owned(), "9".to_owned())]);
    let why = "`queue`: there is nothing at `/queue`";
    world.site("cloud").with(|memory| memory.page = Some(why.into()));
    let said = |status: &api::service::ServiceStatus| {
        let fact = status.conditions.iter().find(|fact| fact.kind == "Metrics").cloned();
        fact.map(|fact| (fact.status, fact.message))
    };
    let told = world.service_when("shop", "said", |status| said(status).is_some()).await;
    assert_eq!(said(&told), Some((false, why.to_owned())));
    world.site("cloud").with(|memory| memory.page = Some(String::new()));
    world.service_when("shop", "well", |status| said(status).is_some_and(|(good, _)| good)).await;
}
