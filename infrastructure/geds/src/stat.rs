//! What is known about objects and buckets, and how objects are written.

use crate::{Attributes, Class};
use serde::{Deserialize, Serialize};

/// Where an object's bytes lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tier {
    /// In shared memory: read as a borrowed view.
    Memory,
    /// In files on the host's disk.
    Disk,
    /// Wherever those lie that it was composed of.
    Mixed,
    /// In the bucket's back end: read block by block.
    Outside,
}

/// What is known about a sealed object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stat {
    /// How many bytes it has.
    pub size: u64,
    /// The number of this sealed state, given out once; moving bytes between tiers keeps it.
    pub version: u64,
    /// When it was sealed, in milliseconds since the Unix epoch.
    pub modified: u64,
    /// The CRC-32C of all bytes, where it is known: of up to 4 KiB from the seal on, of more once
    /// they were written to disk or outside; of composed objects once they were written outside.
    pub crc32c: Option<u32>,
    /// Where the bytes lie now.
    pub tier: Tier,
    /// The site whose node has the bytes, if that is another one than the node that was asked.
    pub site: Option<String>,
    /// The class of its own, in place of that of its bucket's back end.
    pub class: Option<Class>,
    /// What the writer keeps beside the bytes.
    pub attributes: Attributes,
}

/// A bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// When it was created, in milliseconds since the Unix epoch.
    pub created: u64,
    /// How many objects it has.
    pub objects: u64,
    /// What the owner keeps with it, as for objects.
    pub attributes: Attributes,
}

/// An object that was sealed and is no longer there, though nobody deleted it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// Its bucket.
    pub bucket: String,
    /// Its key.
    pub key: String,
    /// What happened.
    pub why: String,
}

/// How an object is written. The default lets the first seal of a name win.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Put {
    /// Whether an object of the name may be replaced.
    pub overwrite: bool,
    /// Replace only this version, which must be there. Implies `overwrite`.
    pub if_version: Option<u64>,
    /// What is kept beside the bytes. None is "no attributes" for new bytes, and "those of the
    /// source" for copies and renames.
    pub attributes: Option<Attributes>,
    /// How many bytes are to come, if that is known: a [`Writer`](crate::Writer) takes the right
    /// memory at once. It may be wrong.
    pub size_hint: Option<u64>,
    /// How many nodes of other sites have a copy when sealing returns: it can be read there when this node is gone.
    pub replicas: u8,
    /// Whether sealing waits until the object is on disk, and synced: then it outlives the node.
    pub durable: bool,
    /// The object's class. None is "that of the bucket's back end" for new bytes, and "that of the source" for copies and
    /// renames.
    pub class: Option<Class>,
}

impl Put {
    /// Replaces what the name has.
    pub fn overwrite() -> Self {
        Self { overwrite: true, ..Self::default() }
    }

    /// Replaces this version and no other.
    pub fn if_version(version: u64) -> Self {
        Self { if_version: Some(version), ..Self::default() }
    }

    /// The same with these attributes.
    #[must_use]
    pub fn attributes(mut self, attributes: Attributes) -> Self {
        self.attributes = Some(attributes);
        self
    }

    /// The same with an expected size.
    #[must_use]
    pub fn size_hint(mut self, bytes: u64) -> Self {
        self.size_hint = Some(bytes);
        self
    }

    /// The same, with copies at so many other sites.
    #[must_use]
    pub fn replicas(mut self, sites: u8) -> Self {
        self.replicas = sites;
        self
    }

    /// The same in a class of its own.
    #[must_use]
    pub fn class(mut self, class: Class) -> Self {
        self.class = Some(class);
        self
    }

    /// The same, on disk before it is sealed.
    #[must_use]
    pub fn durable(mut self) -> Self {
        self.durable = true;
        self
    }
}
