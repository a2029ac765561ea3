//! The stores of sites: nobody starts them, and no kill of an agent loses what is in them.

use crate::{
    guests,
    http::Http,
    world::{CONVERGED, Continuum, Process},
};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use testkit::wait_until;

/// What the store of a site says of itself.
fn pid(continuum: &Continuum, site: &str) -> Option<i64> {
    let noted = fs::read(continuum.data().join(format!("sites/{site}/store/store.pid"))).ok()?;
    serde_json::from_slice::<Value>(&noted).ok()?["pid"].as_i64()
}

fn cat(continuum: &Continuum, site: &str, key: &str) -> String {
    continuum.run(&format!("geds cat geds://lab/{key} --site {site}")).ok()
}

#[test]
fn every_site_sees_the_same_buckets_and_no_kill_of_an_agent_loses_what_is_in_memory() {
    let Some(continuum) = Continuum::up() else { return };
    assert_eq!((pid(&continuum, "cloud"), pid(&continuum, "edge")), (None, None), "nobody asked");
    fs::write(continuum.path("frame"), "a frame").unwrap();
    continuum.run("geds cp frame geds://lab/frame --site edge").ok();
    assert_eq!(pid(&continuum, "cloud"), None, "nobody asked for it");
    assert_eq!(cat(&continuum, "cloud", "frame"), "a frame");
    continuum.run("geds cp frame geds://lab/back --site cloud").ok();
    let stat = continuum.run("geds stat geds://lab/back --site edge").ok();
    assert!(stat.contains("site      cloud"), "{stat}");
    continuum.run("geds mb geds://lab --site cloud").fails(4, "exists already");
    continuum.run("geds cat geds://nosuch/a --site cloud").fails(3, "no bucket `nosuch`");
    continuum.run("geds ls --site moon").fails(3, "site/moon");

    let store = pid(&continuum, "edge");
    continuum.kill(Process::Agent("edge"));
    assert_eq!(cat(&continuum, "cloud", "frame"), "a frame", "the store is still there");
    wait_until("the next agent is there", CONVERGED, || {
        continuum.pid(Process::Agent("edge")).is_some()
            && continuum.run("geds cp frame geds://late/a --site edge").code == Some(0)
    });
    assert_eq!(cat(&continuum, "edge", "frame"), "a frame");
    assert_eq!(pid(&continuum, "edge"), store, "the next agent has adopted it");

    // Who is cut off from the control plane goes on with its own buckets.
    assert!(continuum.signal(Process::Control, Signal::STOP));
    let own =
        format!("--store {}", continuum.data().join("sites/edge/store/default.geds").display());
    continuum.run(&format!("geds {own} cp frame geds://lab/alone")).ok();
    assert_eq!(continuum.run(&format!("geds {own} cat geds://lab/alone")).ok(), "a frame");
    assert!(continuum.signal(Process::Control, Signal::CONT));

    // A store that is killed loses what was in memory alone, says so, and is there again.
    continuum.kill_store("edge");
    wait_until("the store is there again", CONVERGED, || {
        continuum.run("geds cp frame geds://late/b --site edge").code == Some(0)
    });
    assert!(continuum.run("geds lost --site edge").ok().contains("frame"));

    // Nothing is lost when all ends in order.
    continuum.run_with(&["down", "--data-dir"], &[&continuum.data().to_string_lossy()]).ok();
    continuum.start().ok();
    let late = continuum.run("geds cat geds://late/b --site cloud").ok();
    assert_eq!(late, "a frame");
    let env = continuum.run("geds env --site edge").ok();
    assert!(
        env.contains(&format!("AWS_ENDPOINT_URL=http://{}:9000\n", continuum.address(12))),
        "{env}"
    );
    let sites = continuum.run("get sites -o wide").ok();
    assert!(sites.contains(&format!("http://{}:9000", continuum.address(12))), "{sites}");
    let s3 = Http::connect((continuum.address(11), 9000).into(), "localhost").unwrap().get("/");
    assert_eq!(s3.unwrap().status, 403, "it answers who has no key");
}

/// Answers `/put` by appending to an object that it leaves open, `/close`, and `/get`.
const NOTES: &str = r#"
#include <cloudskin/record.h>
#include <stdio.h>
#include <fcntl.h>
#include <unistd.h>

static void answer(int status, const char *text) {
    cs_answer(status, "text/plain", text, strlen(text));
}

int main(void) {
    struct cs_request request;
    char text[200];
    int file = -1;
    while (cs_next(&request) > 0) {
        if (cs_is(request.path, "/put")) {
            if (file < 0) file = open("/data/notes", O_CREAT | O_WRONLY | O_APPEND, 0600);
            answer(file >= 0 && write(file, "note ", 5) == 5 ? 200 : 500, "put");
        } else if (cs_is(request.path, "/close")) {
            answer(close(file) == 0 ? 200 : 500, "closed");
            file = -1;
        } else {
            int seen = open("/in/frame", O_RDONLY);
            ssize_t size = read(seen, text, sizeof text - 1);
            close(seen);
            text[size < 0 ? 0 : size] = 0;
            answer(size < 0 ? 404 : 200, text);
        }
    }
    return 0;
}
"#;

/// Copies a file to the end of another, as a program does that knows nothing of objects.
const APPEND: &str = r#"
#include <stdio.h>
int main(void) {
    FILE *in = fopen("/in/frame", "r"), *out = fopen("/out/sum", "a");
    if (!in || !out) { perror("open"); return 1; }
    for (int c; (c = getc(in)) != EOF;) putc(c, out);
    return fclose(out) != 0;
}
"#;

#[test]
fn programs_and_services_at_sites_use_objects_as_files_and_take_open_ones_along() {
    let Some(continuum) = Continuum::up() else { return };
    if guests::parallel(&continuum, "notes", NOTES, "--migratable").is_none()
        || guests::parallel(&continuum, "append", APPEND, "").is_none()
    {
        return;
    }
    fs::write(continuum.path("frame"), "a frame").unwrap();
    continuum.run("geds cp frame geds://lab/in/frame --site edge").ok();
    let run = "--dir geds://lab/in::/in:ro --dir geds://lab/out::/out append.wasm";
    for site in ["edge", "cloud"] {
        continuum.run(&format!("run --site {site} {run}")).ok();
    }
    assert_eq!(cat(&continuum, "edge", "out/sum"), "a framea frame");
    // A site's store runs the modules of its triggers, whoever seals.
    let trigger = "trigger add lab/new/ --on sealed --run append.wasm --dir geds://lab/in::/in:ro";
    continuum.run(&format!("geds {trigger} --dir geds://lab/made::/out --site edge")).ok();
    continuum.run("geds cp frame geds://lab/new/a --site cloud").ok();
    wait_until("the module has been run", CONVERGED, || {
        continuum.run("geds stat geds://lab/made/sum --site edge").code == Some(0)
    });
    assert_eq!(cat(&continuum, "cloud", "made/sum"), "a frame");

    let missing = continuum.run("run --site edge --dir geds://nosuch::/in:ro append.wasm");
    assert!(missing.code != Some(0) && missing.to_string().contains("nosuch"), "{missing}");
    let encrypted = "--dir geds://lab::/in,transform=encrypt,key-file=frame";
    continuum.run(&format!("run --site edge {encrypted} append.wasm")).fails(1, "key");

    let mounts = [
        "mounts:",
        "- {source: 'geds://lab/in', path: /in, readOnly: true}",
        "- {source: 'geds://lab/notes', path: /data}",
    ];
    continuum.apply("notes", "notes.wasm", &mounts).ok();
    continuum.run("wait --for ready --timeout 30s service/notes").ok();
    let mut http = continuum.http("notes");
    assert_eq!(http.get("/frame").unwrap().ok(), "a frame");
    http.get("/put").unwrap().ok();
    continuum.migrate("notes", "cloud").ok();
    let there = http.get("/put").unwrap();
    assert_eq!((there.header("cloudskin-site"), there.status), ("cloud", 200));
    let unsealed = continuum.run("geds stat geds://lab/notes/notes --site edge");
    unsealed.fails(3, "notes");
    http.get("/close").unwrap().ok();
    assert_eq!(cat(&continuum, "edge", "notes/notes"), "note note ");
    assert_eq!(http.get("/frame").unwrap().ok(), "a frame");
}
