//! Hosts by what they have free, so that a placement looks at few of them.
//!
//! Hosts alike in all that constraints ask for are one class. A class keeps its hosts in buckets
//! by whole free CPUs, and in each bucket by free memory: the tightest and the roomiest host are
//! a few look-ups away, however many hosts there are.

use super::{Constraints, Host, Resources};
use std::collections::{BTreeMap, BTreeSet};
use types::{Bytes, Cpu};

/// Hosts with more whole CPUs free than this share the last bucket.
const BUCKETS_MAX: usize = 1024;

/// By free memory, then by number.
type Bucket = BTreeSet<(u64, u32)>;

/// A capacity that can be ordered.
pub(super) type Shape = (Cpu, Bytes, BTreeMap<String, u64>);

/// A host as a search meets it: ordered from tight to roomy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Found {
    /// Whole free CPUs, as far as buckets go.
    pub(super) bucket: usize,
    /// Free bytes.
    pub(super) memory: u64,
    /// Its number.
    pub(super) host: u32,
}

/// Hosts that differ in names and capacities alone.
#[derive(Debug)]
pub(super) struct Class {
    /// Stands for all of them.
    sample: Host,
    /// Their site's number.
    pub(super) site: u32,
    /// Every capacity among them, with the first host that has it and how many have.
    pub(super) shapes: BTreeMap<Shape, (u32, u64)>,
    buckets: Vec<Bucket>,
    /// Free thousandths of all of them.
    pub(super) cpu_free: u64,
}

impl Class {
    pub(super) fn new(sample: Host, site: u32) -> Self {
        Self { sample, site, shapes: BTreeMap::new(), buckets: Vec::new(), cpu_free: 0 }
    }

    /// Whether the host belongs here.
    pub(super) fn is_like(&self, host: &Host) -> bool {
        self.sample.site == host.site
            && self.sample.isa == host.isa
            && self.sample.attestation == host.attestation
            && self.sample.cordoned == host.cordoned
            && self.sample.labels == host.labels
    }

    /// Whether its hosts may be used.
    pub(super) fn allowed_by(&self, constraints: &Constraints) -> bool {
        constraints.allow(&self.sample)
    }

    /// Takes up a host that is empty.
    pub(super) fn join(&mut self, host: u32, capacity: &Resources) {
        let Resources { cpu, memory, devices } = capacity.clone();
        self.shapes.entry((cpu, memory, devices)).or_insert((host, 0)).1 += 1;
        self.insert(host, capacity);
    }

    pub(super) fn insert(&mut self, host: u32, free: &Resources) {
        let bucket = bucket_of(free.cpu.0);
        if self.buckets.len() <= bucket {
            self.buckets.resize_with(bucket + 1, Bucket::new);
        }
        self.buckets[bucket].insert((free.memory.0, host));
        self.cpu_free += free.cpu.0;
    }

    pub(super) fn remove(&mut self, host: u32, free: &Resources) {
        if let Some(bucket) = self.buckets.get_mut(bucket_of(free.cpu.0)) {
            bucket.remove(&(free.memory.0, host));
            self.cpu_free -= free.cpu.0;
        }
    }

    /// Hosts that may have room for one rank, the tightest first: in the first bucket, and for
    /// devices, it remains to be seen.
    pub(super) fn tight(&self, each: &Resources) -> impl Iterator<Item = Found> {
        let (first, memory) = (bucket_of(each.cpu.0), each.memory.0);
        let buckets = self.buckets.iter().enumerate().skip(first);
        buckets.filter(|(_, hosts)| !hosts.is_empty()).flat_map(move |(bucket, hosts)| {
            let fitting = hosts.range((memory, 0)..);
            fitting.map(move |&(memory, host)| Found { bucket, memory, host })
        })
    }

    /// The same, the roomiest first.
    pub(super) fn roomy(&self, each: &Resources) -> impl Iterator<Item = Found> {
        let (first, memory) = (bucket_of(each.cpu.0), each.memory.0);
        let buckets = self.buckets.iter().enumerate().skip(first).rev();
        buckets.filter(|(_, hosts)| !hosts.is_empty()).flat_map(move |(bucket, hosts)| {
            let fitting = hosts.range((memory, 0)..).rev();
            fitting.map(move |&(memory, host)| Found { bucket, memory, host })
        })
    }
}

/// The most thousandths of a CPU that a host in this bucket can have free.
pub(super) fn bucket_cpu_max(bucket: usize) -> u64 {
    if bucket >= BUCKETS_MAX { u64::MAX } else { (bucket as u64 + 1) * 1000 - 1 }
}

fn bucket_of(cpu: u64) -> usize {
    usize::try_from(cpu / 1000).unwrap_or(usize::MAX).min(BUCKETS_MAX)
}

/// What several searches find, in the order of all: the smallest first, or the largest.
pub(super) struct Merged<I: Iterator<Item = Found>> {
    searches: Vec<std::iter::Peekable<I>>,
    largest: bool,
}

impl<I: Iterator<Item = Found>> Merged<I> {
    pub(super) fn new(searches: impl Iterator<Item = I>, largest: bool) -> Self {
        Self { searches: searches.map(Iterator::peekable).collect(), largest }
    }
}

impl<I: Iterator<Item = Found>> Iterator for Merged<I> {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        let heads = self.searches.iter_mut().enumerate();
        let heads = heads.filter_map(|(at, search)| Some((*search.peek()?, at)));
        let (_, at) = if self.largest { heads.max() } else { heads.min() }?;
        self.searches[at].next()
    }
}
