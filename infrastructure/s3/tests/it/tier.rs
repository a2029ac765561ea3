//! The endpoint as the back end of another store.

use crate::{server::Server, wire::request};
use geds::{BackendConfig, Class, Config, Geds, Limits, Put, Tier};
use std::time::Duration;
use testkit::{Folder, wait_until};

const LONG: Duration = Duration::from_secs(60);

fn bytes(n: usize) -> Vec<u8> {
    (0..50_000 + n * 7).map(|at| (at * 31 + n) as u8).collect()
}

#[test]
fn the_endpoint_is_the_lowest_tier_of_another_store() {
    let server = Server::start();
    request("PUT", "/outside").send(&server).succeeds();
    let folder = Folder::in_memory();
    let limits = Limits { memory_bytes: 16 << 20, high_water_percent: 50, ..Limits::default() };
    let geds = Geds::open(Config::alone(folder.path()).limits(limits)).expect("a store");
    geds.create_bucket("lab").expect("a bucket");
    let endpoint = format!("http://{}", server.address);
    let options = [
        ("endpoint", endpoint.as_str()),
        ("access_key_id", "lab"),
        ("secret_access_key", "lab-secret"),
        ("allow_http", "true"),
    ];
    let backend = BackendConfig::new("s3://outside/below", options).class(Class::Cold);
    geds.attach("lab", backend).expect("attached");
    let put = |key: &str, bytes: &[u8]| geds.put("lab", key, bytes, Put::overwrite());

    let large: Vec<u8> = (0..9_000_000_u32).map(|n| (n / 3) as u8).collect();
    put("large", &large).expect("stored");
    (0..400).for_each(|n| _ = put(&format!("k/{n}"), &bytes(n)).expect("stored"));
    let stat = |key: &str| geds.stat("lab", key).expect("there");
    wait_until("the first one is outside alone", LONG, || {
        _ = put("more", &bytes(0)).expect("stored");
        stat("k/0").tier == Tier::Outside && stat("large").tier == Tier::Outside
    });

    let below = request("GET", "/outside/below/k/0").send(&server).succeeds();
    assert_eq!(below.body, bytes(0));
    let below = request("GET", "/outside/below/large").send(&server).succeeds();
    assert!(below.body == large && below.headers["etag"].contains("-2"), "in two parts");
    assert!(*geds.view("lab", "large").expect("read") == large);
    (0..400).for_each(|n| assert!(*geds.view("lab", &format!("k/{n}")).expect("read") == bytes(n)));
    let state = geds.backends().expect("told").remove(0);
    assert_eq!((state.failures, &state.last_failure), (0, &None));

    put("k/0", b"replaced").expect("stored");
    assert!(geds.delete("lab", "k/1", None).expect("deleted"));
    wait_until("it is gone there", LONG, || {
        request("GET", "/outside/below/k/1").send(&server).status == 404
    });
    wait_until("it is replaced there", LONG, || {
        _ = put("more", &bytes(1)).expect("stored");
        request("GET", "/outside/below/k/0").send(&server).body == b"replaced"
    });
}
