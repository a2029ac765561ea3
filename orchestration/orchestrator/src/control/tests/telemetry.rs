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
