//! Samples in few bits: how the next differs from the last.
//!
//! After Pelkonen et al., "Gorilla: a fast, scalable, in-memory time series database" (VLDB 2015): of times, the
//! difference of differences; of values, the changed bits. Any times that grow and any floats survive unchanged.

use crate::Sample;

/// Widths in bits of a difference of differences, by how many ones stand before it.
const WIDTHS: [u32; 5] = [0, 7, 14, 24, 64];

/// Samples that were packed, and what the next is compared with.
#[derive(Debug, Clone)]
pub(crate) struct Chunk {
    bytes: Vec<u8>,
    /// Bits that are free in the last byte.
    free: u32,
    count: u32,
    first_ms: i64,
    last: Sample,
    delta: i64,
    leading: u32,
    /// How many bits the last stored change has; 0 before the first.
    width: u32,
}

impl Chunk {
    pub(crate) fn new(sample: Sample) -> Self {
        let mut chunk = Self {
            bytes: Vec::with_capacity(64),
            free: 0,
            count: 1,
            first_ms: sample.time_ms,
            last: sample,
            delta: 0,
            leading: 0,
            width: 0,
        };
        chunk.put(sample.time_ms.cast_unsigned(), 64);
        chunk.put(sample.value.to_bits(), 64);
        chunk
    }

    /// Adds a sample that is later than the last.
    pub(crate) fn push(&mut self, sample: Sample) {
        let delta = sample.time_ms.wrapping_sub(self.last.time_ms);
        self.put_time(delta.wrapping_sub(self.delta));
        self.put_value(sample.value.to_bits() ^ self.last.value.to_bits());
        self.delta = delta;
        self.last = sample;
        self.count += 1;
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    pub(crate) fn first_ms(&self) -> i64 {
        self.first_ms
    }

    pub(crate) fn last(&self) -> Sample {
        self.last
    }

    fn put_time(&mut self, change: i64) {
        let class =
            WIDTHS.iter().position(|width| fits(change, *width)).unwrap_or(WIDTHS.len() - 1);
        // Ones, and a zero behind them unless there is no longer row.
        for _ in 0..class {
            self.put(1, 1);
        }
        if class < WIDTHS.len() - 1 {
            self.put(0, 1);
        }
        self.put(change.cast_unsigned(), WIDTHS[class]);
    }

    fn put_value(&mut self, change: u64) {
        if change == 0 {
            return self.put(0, 1);
        }
        self.put(1, 1);
        // Five bits say how many zeros lead.
        let leading = change.leading_zeros().min(31);
        let trailing = change.trailing_zeros();
        let old_trailing = 64 - self.leading - self.width;
        if self.width > 0 && leading >= self.leading && trailing >= old_trailing {
            self.put(0, 1);
            return self.put(change >> old_trailing, self.width);
        }
        self.leading = leading;
        self.width = 64 - leading - trailing;
        self.put(1, 1);
        self.put(leading.into(), 5);
        self.put((self.width - 1).into(), 6);
        self.put(change >> trailing, self.width);
    }

    /// Writes the low `width` bits, the highest first.
    fn put(&mut self, bits: u64, width: u32) {
        let mut left = width;
        while left > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let now = left.min(self.free);
            let part = (bits >> (left - now)) & ((1_u64 << now) - 1);
            if let Some(last) = self.bytes.last_mut() {
                // At most eight bits.
                *last |= (part << (self.free - now)) as u8;
            }
            self.free -= now;
            left -= now;
        }
    }
}

/// Whether `value` is a signed number of so many bits.
fn fits(value: i64, width: u32) -> bool {
    match width {
        0 => value == 0,
        64 => true,
        _ => {
            let half = 1_i64 << (width - 1);
            (-half..half).contains(&value)
        }
    }
}

/// The `count` samples of a chunk's bytes; none if they are not what [`Chunk`] wrote.
pub(crate) fn unpack(bytes: &[u8], count: u32) -> Option<Vec<Sample>> {
    let mut bits = Bits { bytes, at: 0 };
    // A sample has two bits or more, which bounds what a forged count takes.
    let most = bytes.len().saturating_mul(4);
    let mut samples = Vec::with_capacity((count as usize).min(most));
    let mut last = Sample::new(bits.take(64)?.cast_signed(), f64::from_bits(bits.take(64)?));
    let (mut delta, mut leading, mut width) = (0_i64, 0, 0);
    samples.push(last);
    for _ in 1..count {
        delta = delta.wrapping_add(bits.take_time()?);
        let change = bits.take_value(&mut leading, &mut width)?;
        let time_ms = last.time_ms.checked_add(delta).filter(|time| *time > last.time_ms)?;
        last = Sample::new(time_ms, f64::from_bits(last.value.to_bits() ^ change));
        samples.push(last);
    }
    Some(samples)
}

struct Bits<'a> {
    bytes: &'a [u8],
    /// In bits.
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, width: u32) -> Option<u64> {
        let mut value = 0;
        let mut left = width as usize;
        if self.at + left > self.bytes.len() * 8 {
            return None;
        }
        while left > 0 {
            let free = 8 - self.at % 8;
            let now = left.min(free);
            let byte = u64::from(self.bytes[self.at / 8]);
            value = (value << now) | ((byte >> (free - now)) & ((1 << now) - 1));
            self.at += now;
            left -= now;
        }
        Some(value)
    }

    fn take_time(&mut self) -> Option<i64> {
        let mut class = 0;
        while class < WIDTHS.len() - 1 && self.take(1)? == 1 {
            class += 1;
        }
        let width = WIDTHS[class];
        if width == 0 {
            return Some(0);
        }
        let raw = self.take(width)?;
        // The highest bit is the sign.
        Some((raw << (64 - width)).cast_signed() >> (64 - width))
    }

    fn take_value(&mut self, leading: &mut u32, width: &mut u32) -> Option<u64> {
        if self.take(1)? == 0 {
            return Some(0);
        }
        if self.take(1)? == 1 {
            *leading = u32::try_from(self.take(5)?).ok()?;
            *width = u32::try_from(self.take(6)?).ok()? + 1;
        }
        let trailing = 64_u32.checked_sub(*leading)?.checked_sub(*width)?;
        (*width > 0).then(|| self.take(*width))?.map(|bits| bits << trailing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packed(samples: &[Sample]) -> Chunk {
        let mut chunk = Chunk::new(samples[0]);
        samples[1..].iter().for_each(|sample| chunk.push(*sample));
        chunk
    }

    fn samples() -> impl Strategy<Value = Vec<Sample>> {
        let time = prop_oneof![any::<i64>(), 0..100_000_i64, -9000..9000_i64];
        let value = prop_oneof![
            any::<u64>().prop_map(f64::from_bits),
            (0..50_i32).prop_map(f64::from),
            Just(Sample::stale(0).value)
        ];
        prop::collection::btree_map(time, value, 1..200)
            .prop_map(|all| all.into_iter().map(|(time, value)| Sample::new(time, value)).collect())
    }

    proptest! {
        #[test]
        fn any_times_and_values_come_back(samples in samples()) {
            // The span of times fits an i64, as the store demands.
            let first = samples[0].time_ms;
            let samples: Vec<_> =
                samples.into_iter().filter(|one| one.time_ms.checked_sub(first).is_some()).collect();
            let chunk = packed(&samples);

            prop_assert_eq!(unpack(chunk.bytes(), chunk.count()), Some(samples));
        }

        #[test]
        fn any_bytes_are_samples_or_none(bytes in prop::collection::vec(any::<u8>(), 0..300), count: u32) {
            if let Some(samples) = unpack(&bytes, count) {
                prop_assert!(samples.windows(2).all(|pair| pair[0].time_ms < pair[1].time_ms));
            }
        }
    }

    #[test]
    fn a_steady_gauge_takes_little() {
        let samples: Vec<_> =
            (0..480).map(|n| Sample::new(1_700_000_000_000 + n * 15_000, 42.0)).collect();

        assert!(packed(&samples).bytes().len() < 160);
    }
}
