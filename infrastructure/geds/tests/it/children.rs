//! What a child process does: this test program, started again with a role.

use crate::rig::{ARGUMENT, ROLE, bytes_of};
use geds::{Config, Geds, Limits, Listing, Node, Put, Site};
use std::{env, fs, io::Write, path::PathBuf, thread, time::Duration};
use testkit::Random;

#[test]
#[ignore = "needs a role: other tests start it"]
fn child() {
    let (Ok(role), Some(argument)) = (env::var(ROLE), env::var_os(ARGUMENT)) else { return };
    let argument = PathBuf::from(argument);
    match role.as_str() {
        "node" => node(argument),
        "site" => site(argument),
        "put" => put(&join(argument)),
        "write" => write_for_ever(&join(argument)),
        "view" => view_for_ever(&join(argument)),
        "runner" => crate::triggers::run_for_ever(join(argument)),
        "hold" => hold(&join(argument)),
        "scribble" => scribble(&join(argument)),
        other => panic!("no child is a {other}"),
    }
}

fn join(socket: PathBuf) -> Geds {
    Geds::open(Config::join(socket)).unwrap()
}

/// A node in a folder, until it is killed.
fn node(folder: PathBuf) {
    let node = Node::start(folder.join("node")).unwrap();
    node.listen("lab", &Limits::default(), folder.join("lab.sock")).unwrap();
    loop {
        thread::sleep(Duration::from_secs(60));
    }
}

/// The node of a site as a file in the folder names it: its name, then other sites and their addresses.
fn site(folder: PathBuf) {
    let text = fs::read_to_string(folder.join("site")).unwrap();
    let mut lines = text.lines();
    let listen = "127.0.0.1:0".parse().unwrap();
    let mut site = Site::plain(lines.next().unwrap()).listen(listen);
    for line in lines {
        let (name, address) = line.split_once(' ').unwrap();
        site = site.peer(name, address.parse().unwrap());
    }
    let node = Node::start(folder.join("node")).unwrap();
    let address = node.join_sites(site).unwrap().unwrap();
    node.listen("lab", &Limits::default(), folder.join("lab.sock")).unwrap();
    fs::write(folder.join("address.new"), address.to_string()).unwrap();
    fs::rename(folder.join("address.new"), folder.join("address")).unwrap();
    loop {
        thread::sleep(Duration::from_secs(60));
    }
}

fn put(geds: &Geds) {
    for (key, len) in [("small", 10), ("page", 4096), ("large", 3 << 20)] {
        geds.put("lab", key, &bytes_of(key, len), Put::default()).unwrap();
    }
}

fn random() -> Random {
    Random::from_seed(u64::from(std::process::id()))
}

/// Writes all kinds of objects, whose bytes follow from key and length.
fn write_for_ever(geds: &Geds) {
    let mut random = random();
    loop {
        let key = format!("k/{}", random.below(200));
        let len = [0, 100, 5000, 100_000, 700_000][random.below(5) as usize];
        let (bytes, put) = (bytes_of(&key, len), Put::overwrite());
        let _ = match random.below(8) {
            0 => geds.delete("lab", &key, None).map(|_| ()),
            1 => geds.create("lab", &key, put).and_then(|mut writer| {
                for part in bytes.chunks(10_000) {
                    writer.write_all(part).unwrap();
                }
                writer.seal().map(|_| ())
            }),
            2 => geds.persist("lab", &key).map(|_| ()),
            _ => geds.put("lab", &key, &bytes, put).map(|_| ()),
        };
    }
}

/// Views objects, holds some, and checks what it sees.
fn view_for_ever(geds: &Geds) {
    let mut random = random();
    let mut held = Vec::new();
    loop {
        let key = format!("k/{}", random.below(200));
        if let Ok(view) = geds.view("lab", &key) {
            assert_eq!(*view, bytes_of(&key, view.len()), "{key}");
            held.push((key, view));
        }
        if held.len() > 20 {
            let (key, view) = held.swap_remove(random.below(20) as usize);
            assert_eq!(*view, bytes_of(&key, view.len()), "{key} while it was held");
        }
    }
}

/// Views all objects, says so by an object, and stays.
fn hold(geds: &Geds) {
    let page = geds.list("lab", &Listing::default()).unwrap();
    let _views: Vec<_> =
        page.entries.iter().map(|entry| geds.view("lab", &entry.key).unwrap()).collect();
    geds.put("lab", "held", b"", Put::default()).unwrap();
    loop {
        thread::sleep(Duration::from_secs(60));
    }
}

/// Overwrites the tenant's index and its own page with random bytes, again and again.
fn scribble(geds: &Geds) {
    use std::os::unix::fs::FileExt;
    let _ = geds.put("lab", "before", b"x", Put::overwrite());
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let memory = fs::File::options().write(true).open("/proc/self/mem").unwrap();
    let mut random = random();
    let ranges: Vec<(u64, u64)> = maps
        .lines()
        .filter(|line| line.contains("geds-index") || line.contains("geds-session"))
        .map(|line| {
            let (start, rest) = line.split_once('-').unwrap();
            let end = rest.split_once(' ').unwrap().0;
            (u64::from_str_radix(start, 16).unwrap(), u64::from_str_radix(end, 16).unwrap())
        })
        .collect();
    assert!(!ranges.is_empty());
    for _ in 0..20_000 {
        let (start, end) = ranges[random.below(ranges.len() as u64) as usize];
        // Mostly what is in use: the beginning, and the first chunks.
        let span = if random.one_in(2) { (end - start).min(1 << 16) } else { end - start };
        // The header stays: without it nobody could join and do more.
        let at = start + 64 + random.below(span - 64) / 8 * 8;
        let value = match random.below(3) {
            0 => random.next_u64(),
            1 => random.below(1 << 16),
            _ => u64::MAX,
        };
        let _ = memory.write_all_at(&value.to_le_bytes(), at);
        if random.one_in(50) {
            let _ = geds.put("lab", "k", b"scribbled", Put::overwrite());
            let _ = geds.view("lab", "before");
        }
    }
}
