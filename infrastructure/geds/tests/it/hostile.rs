//! A process that overwrites what it shares.

use crate::rig::{Host, Process};
use geds::{Geds, Limits, Listing, Put};
use testkit::soak_rounds;

#[test]
fn a_scribbling_process_harms_its_own_tenant_alone() {
    let host = Host::new(Limits { wait_ms: 50, ..Limits::default() });
    let lab = host.geds();
    lab.create_bucket("lab").unwrap();
    let other = host.node.geds("other", &Limits::default()).unwrap();
    other.create_bucket("data").unwrap();
    for n in 0..100 {
        other.put("data", &format!("k{n}"), &[n; 3000], Put::default()).unwrap();
        let _ = lab.put("lab", &format!("k{n}"), &[n; 3000], Put::default());
    }
    for _ in 0..soak_rounds(3) {
        let child = Process::start("scribble", host.socket());
        use_all(&lab);
        child.succeeds();
        use_all(&lab);
    }
    for n in 0..100 {
        assert_eq!(*other.view("data", &format!("k{n}")).unwrap(), [n; 3000]);
    }
    other.put("data", "new", b"x", Put::default()).unwrap();
    assert_eq!(other.list("data", &Listing::default()).unwrap().entries.len(), 101);
}

/// Whatever comes of it, no operation panics or hangs.
fn use_all(lab: &Geds) {
    for n in 0..30_u8 {
        let key = format!("k{n}");
        let _ = lab.view("lab", &key).map(|view| view.len());
        let _ = lab.put("lab", &key, &[n; 500], Put::overwrite());
        let _ = lab.copy(("lab", &key), ("lab", "copy"), Put::overwrite());
        let _ = lab.set_attributes("lab", &key, geds::Attributes::new(), None);
        let _ = lab.delete("lab", "copy", None);
        let _ = lab.persist("lab", &key);
    }
    let _ = lab.list("lab", &Listing::default());
    let _ = lab.usage();
    let _ = lab.persist_all();
}
