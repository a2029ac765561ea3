//! What S3 keeps with an object beside its bytes: one attribute of the object in GEDS.

use crate::{
    digest::{Algorithm, Checksum, Kind},
    tags::Tags,
};
use data_encoding::HEXLOWER;
use geds::{Attributes, Stat};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The name of the attribute.
const ATTRIBUTE: &str = "s3";

/// The version of its form, which stands in front.
const VERSION: u8 = 1;

/// The checksums of parts are kept as long as they take no more than this: attributes are small.
const PART_CHECKSUMS_MAX_BYTES: usize = 8 << 10;

/// Most parts of an upload.
const PARTS_MAX: usize = 10_000;

/// What S3 calls the entity tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ETag {
    /// The MD5 of the bytes, or that of the parts' MD5s.
    pub(crate) md5: [u8; 16],
    /// How many parts it was uploaded in; none for an object that came at once.
    pub(crate) parts: Option<u32>,
}

impl fmt::Display for ETag {
    /// Without quotes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.md5))?;
        match self.parts {
            Some(parts) => write!(f, "-{parts}"),
            None => Ok(()),
        }
    }
}

/// Headers that are kept as they came and returned so.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Headers {
    pub(crate) content_type: Option<String>,
    pub(crate) content_encoding: Option<String>,
    pub(crate) content_language: Option<String>,
    pub(crate) content_disposition: Option<String>,
    pub(crate) cache_control: Option<String>,
    pub(crate) expires: Option<String>,
    pub(crate) redirect: Option<String>,
    pub(crate) storage_class: Option<String>,
}

/// The parts of an object, numbered from 1.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Parts {
    /// Runs of parts of one size: how many, and how large.
    runs: Vec<(u32, u64)>,
    /// Their checksums, unless that is too many.
    checksums: Vec<Checksum>,
    /// Their numbers where they are not 1, 2, 3, …
    numbers: Vec<u32>,
}

/// A part of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) number: u32,
    pub(crate) offset: u64,
    pub(crate) size: u64,
    pub(crate) checksum: Option<Checksum>,
}

impl Parts {
    /// Describes parts by number and size, in their order.
    pub(crate) fn new(parts: &[(u32, u64)], checksums: Vec<Checksum>) -> Self {
        let mut runs: Vec<(u32, u64)> = Vec::new();
        for (_, size) in parts {
            match runs.last_mut() {
                Some((count, last)) if last == size => *count += 1,
                _ => runs.push((1, *size)),
            }
        }
        let is_plain = parts.iter().zip(1..).all(|((number, _), counted)| *number == counted);
        let numbers =
            if is_plain { Vec::new() } else { parts.iter().map(|(number, _)| *number).collect() };
        let size = checksums.iter().map(|checksum| checksum.text().len()).sum::<usize>();
        let keeps = checksums.len() == parts.len() && size <= PART_CHECKSUMS_MAX_BYTES;
        Self { runs, checksums: if keeps { checksums } else { Vec::new() }, numbers }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u32 {
        self.runs.iter().fold(0, |sum, (count, _)| sum.saturating_add(*count))
    }

    /// All of them in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Part> {
        let sizes = self
            .runs
            .iter()
            .flat_map(|(count, size)| std::iter::repeat_n(*size, *count as usize))
            .take(PARTS_MAX);
        let mut offset = 0_u64;
        sizes.enumerate().map(move |(index, size)| {
            let start = offset;
            offset = offset.saturating_add(size);
            let counted = u32::try_from(index).unwrap_or(u32::MAX).saturating_add(1);
            Part {
                number: self.numbers.get(index).copied().unwrap_or(counted),
                offset: start,
                size,
                checksum: self.checksums.get(index).cloned(),
            }
        })
    }
}

/// What S3 keeps with an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) etag: ETag,
    pub(crate) headers: Headers,
    /// Names are in lower case and without `x-amz-meta-`.
    pub(crate) metadata: Vec<(String, String)>,
    pub(crate) tags: Tags,
    pub(crate) checksum: Option<(Checksum, Kind)>,
    pub(crate) parts: Option<Parts>,
}

impl Record {
    /// Reads what belongs to an object. One that did not come through S3 has an ETag that no client
    /// takes for an MD5.
    pub(crate) fn of(stat: &Stat) -> Self {
        let stored = stat.attributes.get(ATTRIBUTE).and_then(Self::decode);
        stored.unwrap_or_else(|| {
            let mut md5 = [0; 16];
            md5[..8].copy_from_slice(&stat.version.to_be_bytes());
            md5[8..].copy_from_slice(&stat.size.to_be_bytes());
            Self {
                etag: ETag { md5, parts: Some(1) },
                headers: Headers::default(),
                metadata: Vec::new(),
                tags: Tags::new(),
                checksum: None,
                parts: None,
            }
        })
    }

    /// The checksum as clients are told it: a composite with the number of its parts.
    pub(crate) fn told_checksum(&self) -> Option<(Algorithm, String, Kind)> {
        let (checksum, kind) = self.checksum.as_ref()?;
        let text = match (kind, self.etag.parts) {
            (Kind::Composite, Some(parts)) => format!("{}-{parts}", checksum.text()),
            _ => checksum.text(),
        };
        Some((checksum.algorithm, text, *kind))
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first() {
            Some((&VERSION, rest)) => postcard::from_bytes(rest).ok(),
            _ => None,
        }
    }

    /// The object's attributes: those it had, and this.
    pub(crate) fn write(&self, attributes: &mut Attributes) {
        let encoded = postcard::to_extend(self, vec![VERSION])
            .expect("strings, numbers and lists can be written");
        attributes.insert(ATTRIBUTE, encoded);
    }

    /// Attributes of a new object.
    pub(crate) fn attributes(&self) -> Attributes {
        let mut attributes = Attributes::new();
        self.write(&mut attributes);
        attributes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use geds::Tier;

    fn stat(attributes: Attributes) -> Stat {
        Stat {
            size: 3,
            version: 7,
            modified: 0,
            crc32c: None,
            tier: Tier::Memory,
            site: None,
            class: None,
            attributes,
        }
    }

    fn checksum() -> Checksum {
        Checksum::parse(Algorithm::Crc32, "y/Q5Jg==").expect("a checksum")
    }

    #[test]
    fn a_record_comes_back() {
        let record = Record {
            etag: ETag { md5: [7; 16], parts: Some(3) },
            headers: Headers { content_type: Some("image/png".into()), ..Headers::default() },
            metadata: vec![("colour".into(), "grün".into())],
            tags: vec![("a".into(), "b".into())],
            checksum: Some((checksum(), Kind::Composite)),
            parts: Some(Parts::new(&[(1, 5), (2, 5), (4, 1)], vec![checksum(); 3])),
        };

        assert_eq!(Record::of(&stat(record.attributes())), record);
        assert_eq!(record.etag.to_string(), format!("{}-3", "07".repeat(16)));
    }

    #[test]
    fn what_is_no_record_gives_an_etag_of_its_own() {
        let damaged = Attributes::new().with(ATTRIBUTE, vec![VERSION, 0xff, 0xff]);
        let newer = Attributes::new().with(ATTRIBUTE, vec![VERSION + 1]);

        for attributes in [Attributes::new(), damaged, newer] {
            let etag = Record::of(&stat(attributes)).etag.to_string();
            assert!(etag.ends_with("-1"), "{etag}");
        }
    }

    #[test]
    fn parts_are_told_with_their_places() {
        let parts = Parts::new(&[(1, 5), (3, 5), (4, 1)], Vec::new());

        let told: Vec<_> = parts.iter().map(|part| (part.number, part.offset, part.size)).collect();
        assert_eq!(told, [(1, 0, 5), (3, 5, 5), (4, 10, 1)]);
        assert_eq!(parts.count(), 3);
    }

    #[test]
    fn too_many_checksums_are_left_out() {
        let parts: Vec<_> = (1..=10_000).map(|number| (number, 5 << 20)).collect();
        let parts = Parts::new(&parts, vec![checksum(); 10_000]);

        assert_eq!(parts.count(), 10_000);
        assert!(parts.iter().all(|part| part.checksum.is_none()));
        assert_eq!(parts.runs, [(10_000, 5 << 20)]);
    }
}
