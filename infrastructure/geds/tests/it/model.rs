//! The store against a model: a map of maps.

use crate::rig::bytes_of;
use geds::{Attributes, Config, Error, Geds, Limits, Listing, Part, Put};
use std::collections::BTreeMap;
use testkit::{Folder, Random, soak_rounds};

#[derive(Debug, Clone, PartialEq)]
struct Known {
    bytes: Vec<u8>,
    attributes: Attributes,
}

struct Rig {
    folder: Folder,
    geds: Option<Geds>,
    model: BTreeMap<String, Known>,
    random: Random,
}

const LIMITS: Limits = Limits {
    memory_bytes: 4 << 20,
    disk_bytes: 1 << 30,
    high_water_percent: 60,
    objects: 10_000,
    wait_ms: 30_000,
    cache_bytes: 1 << 20,
};

impl Rig {
    fn open(folder: &Folder) -> Geds {
        Geds::open(Config::alone(folder.path()).limits(LIMITS)).unwrap()
    }

    fn geds(&self) -> &Geds {
        self.geds.as_ref().unwrap()
    }

    fn key(&mut self) -> String {
        let folder = ["a/", "b/", "a/b/", ""][self.random.below(4) as usize];
        format!("{folder}{}", self.random.below(12))
    }

    fn bytes(&mut self) -> Vec<u8> {
        let len = match self.random.below(6) {
            0 => 0,
            1..4 => self.random.below(2000),
            4 => self.random.below(200_000),
            _ => self.random.below(3_000_000) / (1 + self.random.below(8)),
        };
        bytes_of(&self.random.next_u64().to_string(), len as usize)
    }

    fn step(&mut self) {
        match self.random.below(16) {
            0..5 => self.put(),
            5 => self.write(),
            6 => self.delete(),
            7 => self.copy(),
            8 => self.rename(),
            9 => self.compose(),
            10 => self.set_attributes(),
            11 => self.prefix(),
            12 => self.persist(),
            13 => self.list(),
            14 if self.random.one_in(6) => self.reopen(),
            _ => self.check_one(),
        }
    }

    fn put(&mut self) {
        let (key, bytes, overwrite) = (self.key(), self.bytes(), self.random.one_in(2));
        let attributes = Attributes::new().with("n", self.random.next_u64().to_string());
        let put = Put { overwrite, ..Put::default() }.attributes(attributes.clone());
        let done = self.geds().put("lab", &key, &bytes, put);
        if !overwrite && self.model.contains_key(&key) {
            assert!(matches!(done, Err(Error::Exists { .. })));
            return;
        }
        assert_eq!(done.unwrap().size, bytes.len() as u64);
        self.model.insert(key, Known { bytes, attributes });
    }

    fn write(&mut self) {
        let (key, mut bytes) = (self.key(), self.bytes());
        let mut writer = self.geds().create("lab", &key, Put::overwrite()).unwrap();
        let (mut at, cut) = (0, self.random.below(bytes.len() as u64 + 1));
        while at < bytes.len() {
            let count = (1 + self.random.below(150_000) as usize).min(bytes.len() - at);
            writer.write_at(at as u64, &bytes[at..at + count]).unwrap();
            at += count;
        }
        if self.random.one_in(2) {
            writer.truncate(cut).unwrap();
            bytes.truncate(cut as usize);
        }
        if self.random.one_in(4) {
            let hole = self.random.below(100_000) as usize;
            bytes.resize(bytes.len() + hole, 0);
            writer.write_at(bytes.len() as u64, b"end").unwrap();
            bytes.extend_from_slice(b"end");
        }
        let mut back = vec![0; bytes.len()];
        assert_eq!(writer.read_at(0, &mut back).unwrap(), bytes.len());
        assert!(back == bytes);
        if self.random.one_in(5) {
            return;
        }
        writer.seal().unwrap();
        self.model.insert(key, Known { bytes, attributes: Attributes::new() });
    }

    fn delete(&mut self) {
        let key = self.key();
        let deleted = self.geds().delete("lab", &key, None).unwrap();
        assert_eq!(deleted, self.model.remove(&key).is_some());
    }

    fn copy(&mut self) {
        let (from, to) = (self.key(), self.key());
        let copied = self.geds().copy(("lab", &from), ("lab", &to), Put::overwrite());
        match self.model.get(&from).cloned() {
            Some(known) => {
                copied.unwrap();
                self.model.insert(to, known);
            }
            None => assert!(matches!(copied, Err(Error::NoObject { .. }))),
        }
    }

    fn rename(&mut self) {
        let (from, to) = (self.key(), self.key());
        let renamed = self.geds().rename("lab", &from, &to, Put::overwrite());
        match self.model.remove(&from) {
            Some(known) => {
                renamed.unwrap();
                self.model.insert(to, known);
            }
            None => assert!(matches!(renamed, Err(Error::NoObject { .. }))),
        }
    }

    fn compose(&mut self) {
        let (key, mut parts, mut bytes) = (self.key(), Vec::new(), Vec::new());
        for _ in 0..self.random.below(5) {
            let part = self.key();
            let Some(known) = self.model.get(&part) else { continue };
            if bytes.len() + known.bytes.len() > 4_000_000 {
                continue;
            }
            let start = self.random.below(known.bytes.len() as u64 + 1);
            let end = start + self.random.below(known.bytes.len() as u64 - start + 1);
            bytes.extend_from_slice(&known.bytes[start as usize..end as usize]);
            parts.push(Part { range: Some(start..end), ..Part::all("lab", part) });
        }
        let composed = self.geds().compose("lab", &key, &parts, Put::overwrite()).unwrap();
        assert_eq!(composed.size, bytes.len() as u64);
        self.model.insert(key, Known { bytes, attributes: Attributes::new() });
    }

    fn set_attributes(&mut self) {
        let key = self.key();
        let attributes = Attributes::new().with("set", vec![7; self.random.below(3000) as usize]);
        let set = self.geds().set_attributes("lab", &key, attributes.clone(), None);
        match self.model.get_mut(&key) {
            Some(known) => {
                assert_eq!(set.unwrap().attributes, attributes);
                known.attributes = attributes;
            }
            None => assert!(matches!(set, Err(Error::NoObject { .. }))),
        }
    }

    fn prefix(&mut self) {
        if self.random.one_in(4) {
            let removed = self.geds().delete_prefix("lab", "a/b/").unwrap();
            let before = self.model.len();
            self.model.retain(|key, _| !key.starts_with("a/b/"));
            assert_eq!(removed as usize, before - self.model.len());
            return;
        }
        let rename = self.random.one_in(2);
        let done = if rename {
            self.geds().rename_prefix("lab", "b/", "a/b/", &Put::overwrite())
        } else {
            self.geds().copy_prefix(("lab", "b/"), ("lab", "a/b/"), &Put::overwrite())
        };
        let moved: Vec<String> =
            self.model.keys().filter(|key| key.starts_with("b/")).cloned().collect();
        assert_eq!(done.unwrap() as usize, moved.len());
        for key in moved {
            let known = self.model[&key].clone();
            if rename {
                self.model.remove(&key);
            }
            self.model.insert(format!("a/{key}"), known);
        }
    }

    fn persist(&mut self) {
        let key = self.key();
        let persisted = self.geds().persist("lab", &key);
        assert_eq!(persisted.is_ok(), self.model.contains_key(&key), "{persisted:?}");
    }

    fn list(&mut self) {
        let listing = Listing::prefix(["", "a/", "b"][self.random.below(3) as usize]).limit(7);
        let (mut listing, mut listed) = (listing, Vec::new());
        loop {
            let page = self.geds().list("lab", &listing).unwrap();
            listed.extend(page.entries);
            listing.after = page.next;
            if listing.after.is_none() {
                break;
            }
        }
        let known = self.model.iter().filter(|(key, _)| key.starts_with(&listing.prefix));
        let listed =
            listed.iter().map(|entry| (&entry.key, entry.stat.size, &entry.stat.attributes));
        assert!(
            known.map(|(key, known)| (key, known.bytes.len() as u64, &known.attributes)).eq(listed)
        );
    }

    fn reopen(&mut self) {
        self.geds().persist_all().unwrap();
        self.geds = None;
        self.geds = Some(Self::open(&self.folder));
        self.check_all();
    }

    fn check_one(&mut self) {
        let key = self.key();
        match self.model.get(&key) {
            Some(known) => self.check(&key, known),
            None => assert!(matches!(self.geds().view("lab", &key), Err(Error::NoObject { .. }))),
        }
    }

    fn check(&self, key: &str, known: &Known) {
        assert!(*self.geds().view("lab", key).unwrap() == known.bytes, "{key}");
        let object = self.geds().object("lab", key).unwrap();
        assert_eq!(object.stat().attributes, known.attributes);
        let half = known.bytes.len() / 2;
        let mut buffer = vec![0; known.bytes.len()];
        assert_eq!(object.read_at(half as u64, &mut buffer).unwrap(), known.bytes.len() - half);
        assert!(buffer[..known.bytes.len() - half] == known.bytes[half..], "{key}");
    }

    fn check_all(&self) {
        self.model.iter().for_each(|(key, known)| self.check(key, known));
        let objects = self.geds().usage().unwrap().objects;
        assert_eq!(objects, self.model.len() as u64);
    }
}

#[test]
fn the_store_does_what_a_map_does() {
    let random = Random::printed("model");
    let folder = Folder::in_memory();
    let geds = Rig::open(&folder);
    geds.create_bucket("lab").unwrap();
    let mut rig = Rig { folder, geds: Some(geds), model: BTreeMap::new(), random };
    for _ in 0..soak_rounds(1) {
        for _ in 0..1500 {
            rig.step();
        }
        rig.check_all();
    }
    rig.geds().delete_prefix("lab", "").unwrap();
    let usage = rig.geds().usage().unwrap();
    assert!(usage.files == 0 && usage.disk_bytes == 0 && usage.slabs <= 1, "{usage:?}");
}
