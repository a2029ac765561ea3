//! Checksums and digests of bodies: those that S3 knows, computed as bytes pass by.

use crc_fast::CrcAlgorithm;
use data_encoding::BASE64;
use md5::{Digest as _, Md5};
use ring::digest;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A checksum algorithm of S3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

impl Algorithm {
    pub(crate) const ALL: [Self; 5] =
        [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256];

    /// As it is called in requests.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    /// The header that carries it.
    pub(crate) fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    pub(crate) fn of_header(header: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.header().eq_ignore_ascii_case(header))
    }

    /// How many bytes a value has.
    fn size(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    /// The cyclic redundancy check that it is, if it is one: these can be put together.
    fn crc(self) -> Option<CrcAlgorithm> {
        match self {
            Self::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
            Self::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
            Self::Sha1 | Self::Sha256 => None,
        }
    }
}

/// Whether the checksum of an object that was uploaded in parts is that of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// It is.
    FullObject,
    /// It is that of the parts' checksums.
    Composite,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::FullObject => "FULL_OBJECT",
            Self::Composite => "COMPOSITE",
        }
    }
}

/// The value of a checksum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checksum {
    pub(crate) algorithm: Algorithm,
    value: Vec<u8>,
}

impl Checksum {
    /// Reads a value in base 64; none if it cannot be one of that algorithm.
    pub(crate) fn parse(algorithm: Algorithm, text: &str) -> Option<Self> {
        let value = BASE64.decode(text.trim().as_bytes()).ok()?;
        (value.len() == algorithm.size()).then_some(Self { algorithm, value })
    }

    /// The value in base 64.
    pub(crate) fn text(&self) -> String {
        BASE64.encode(&self.value)
    }

    /// What is told of it.
    pub(crate) fn told(&self) -> (Algorithm, String) {
        (self.algorithm, self.text())
    }

    fn of_crc(algorithm: Algorithm, crc: u64) -> Self {
        let bytes = crc.to_be_bytes();
        let value = bytes[bytes.len() - algorithm.size().min(bytes.len())..].to_vec();
        Self { algorithm, value }
    }

    /// The checksum of parts put together, if the algorithm can tell it from theirs. Each comes with
    /// the size of its part.
    pub(crate) fn joined<'a>(parts: impl IntoIterator<Item = (&'a Self, u64)>) -> Option<Self> {
        let mut parts = parts.into_iter();
        let (first, _) = parts.next()?;
        let crc = first.algorithm.crc()?;
        let number = |checksum: &Self| {
            checksum.value.iter().fold(0, |number: u64, byte| number << 8 | u64::from(*byte))
        };
        let joined = parts.try_fold(number(first), |joined, (part, size)| {
            let is_same = part.algorithm == first.algorithm;
            is_same.then(|| crc_fast::checksum_combine(crc, joined, number(part), size))
        })?;
        Some(Self::of_crc(first.algorithm, joined))
    }

    /// The checksum of the parts' checksums.
    pub(crate) fn composite<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        let mut running: Option<Running> = None;
        for part in parts {
            running.get_or_insert_with(|| Running::new(part.algorithm)).update(&part.value);
        }
        running.map(Running::finish)
    }
}

/// A checksum that is being computed.
pub(crate) struct Running {
    algorithm: Algorithm,
    state: State,
}

enum State {
    Crc(crc_fast::Digest),
    Sha(digest::Context),
}

impl Running {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        let state = match (algorithm, algorithm.crc()) {
            (_, Some(crc)) => State::Crc(crc_fast::Digest::new(crc)),
            (Algorithm::Sha1, None) => {
                State::Sha(digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY))
            }
            (_, None) => State::Sha(digest::Context::new(&digest::SHA256)),
        };
        Self { algorithm, state }
    }

    pub(crate) fn update(&mut self, data: &[u8]) {
        match &mut self.state {
            State::Crc(crc) => crc.update(data),
            State::Sha(sha) => sha.update(data),
        }
    }

    pub(crate) fn finish(self) -> Checksum {
        let algorithm = self.algorithm;
        match self.state {
            State::Crc(crc) => Checksum::of_crc(algorithm, crc.finalize()),
            State::Sha(sha) => Checksum { algorithm, value: sha.finish().as_ref().to_vec() },
        }
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

/// All that is computed of one body.
pub(crate) struct Hasher {
    md5: Md5,
    sha256: Option<digest::Context>,
    checksum: Option<Running>,
    /// Kept for parts, whose checksums are put together later.
    joinable: Option<Running>,
}

/// What was computed.
#[derive(Debug, Clone)]
pub(crate) struct Digests {
    pub(crate) md5: [u8; 16],
    pub(crate) sha256: Option<[u8; 32]>,
    pub(crate) checksum: Option<Checksum>,
    pub(crate) joinable: Option<Checksum>,
}

/// The algorithm of checksums that nobody asked for: what S3 computes by itself.
pub(crate) const DEFAULT: Algorithm = Algorithm::Crc64Nvme;

impl Hasher {
    /// Computes the MD5, and the SHA-256 and a checksum where they are asked for.
    pub(crate) fn new(with_sha256: bool, checksum: Option<Algorithm>) -> Self {
        Self {
            md5: Md5::new(),
            sha256: with_sha256.then(|| digest::Context::new(&digest::SHA256)),
            checksum: checksum.map(Running::new),
            joinable: None,
        }
    }

    /// The same, and what the whole object's checksum can be told from.
    pub(crate) fn joinable(mut self) -> Self {
        let is_there = self.checksum.as_ref().is_some_and(|running| running.algorithm == DEFAULT);
        self.joinable = (!is_there).then(|| Running::new(DEFAULT));
        self
    }

    pub(crate) fn update(&mut self, data: &[u8]) {
        self.md5.update(data);
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(data);
        }
        for running in [&mut self.checksum, &mut self.joinable].into_iter().flatten() {
            running.update(data);
        }
    }

    pub(crate) fn finish(self) -> Digests {
        let sha256 = self.sha256.map(|sha256| {
            let mut value = [0; 32];
            value.copy_from_slice(sha256.finish().as_ref());
            value
        });
        let checksum = self.checksum.map(Running::finish);
        let default = checksum.clone().filter(|checksum| checksum.algorithm == DEFAULT);
        Digests {
            md5: self.md5.finalize().into(),
            sha256,
            joinable: self.joinable.map(Running::finish).or(default),
            checksum,
        }
    }
}

/// The MD5 of bytes that are there at once.
pub(crate) fn md5(data: &[u8]) -> [u8; 16] {
    Md5::digest(data).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(algorithm: Algorithm, data: &[u8]) -> Checksum {
        let mut running = Running::new(algorithm);
        running.update(data);
        running.finish()
    }

    #[test]
    fn algorithms_agree_with_published_values() {
        let text = |algorithm| of(algorithm, b"123456789").text();

        assert_eq!(text(Algorithm::Crc32), BASE64.encode(&0xcbf4_3926_u32.to_be_bytes()));
        assert_eq!(text(Algorithm::Crc32c), BASE64.encode(&0xe306_9283_u32.to_be_bytes()));
        assert_eq!(
            text(Algorithm::Crc64Nvme),
            BASE64.encode(&0xae8b_1486_0a79_9888_u64.to_be_bytes())
        );
        assert_eq!(text(Algorithm::Sha1), "98O8HYCOBHMq32eZZczDTKeuNEE=");
        assert_eq!(text(Algorithm::Sha256), "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=");
    }

    #[test]
    fn checksums_of_parts_tell_that_of_the_whole() {
        for algorithm in [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme] {
            let parts = [&b"1234"[..], b"", b"56789"];
            let checksums = parts.map(|part| of(algorithm, part));
            let sized = checksums.iter().zip(parts.map(|part| part.len() as u64));

            assert_eq!(Checksum::joined(sized), Some(of(algorithm, b"123456789")));
        }
        let sha = of(Algorithm::Sha1, b"1234");
        assert_eq!(Checksum::joined([(&sha, 4)]), None);
    }

    #[test]
    fn composites_are_checksums_of_checksums() {
        let parts = [of(Algorithm::Crc32, b"a"), of(Algorithm::Crc32, b"b")];
        let both: Vec<u8> = parts.iter().flat_map(|part| part.value.clone()).collect();

        assert_eq!(Checksum::composite(&parts), Some(of(Algorithm::Crc32, &both)));
        assert_eq!(Checksum::composite([]), None);
    }

    #[test]
    fn values_of_the_wrong_length_or_alphabet_are_none() {
        assert!(Checksum::parse(Algorithm::Crc32, "y/Q5Jg==").is_some());
        for text in ["", "y/Q5", "y/Q5Jg", "????????", "y/Q5JgAA"] {
            assert_eq!(Checksum::parse(Algorithm::Crc32, text), None, "{text}");
        }
    }

    #[test]
    fn a_hasher_computes_what_it_is_asked_for() {
        let mut hasher = Hasher::new(true, Some(Algorithm::Crc32)).joinable();
        hasher.update(b"12345");
        hasher.update(b"6789");
        let digests = hasher.finish();

        assert_eq!(digests.md5, md5(b"123456789"));
        assert!(digests.sha256.is_some());
        assert_eq!(digests.checksum, Some(of(Algorithm::Crc32, b"123456789")));
        assert_eq!(digests.joinable, Some(of(DEFAULT, b"123456789")));
    }
}
