//! One measured value.

/// The bits of the value that says: the series ended here. A NaN that no computation gives, the same as Prometheus'.
const STALE_BITS: u64 = 0x7ff0_0000_0000_0002;

/// A value and when it was measured.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// What was measured; any float, NaN included.
    pub value: f64,
}

impl Sample {
    /// A sample.
    pub fn new(time_ms: i64, value: f64) -> Self {
        Self { time_ms, value }
    }

    /// The mark that the series ended: selectors find nothing behind it.
    pub fn stale(time_ms: i64) -> Self {
        Self { time_ms, value: f64::from_bits(STALE_BITS) }
    }

    /// Whether it is that mark.
    pub fn is_stale(&self) -> bool {
        self.value.to_bits() == STALE_BITS
    }
}

/// The same time and the same bits: a NaN equals itself.
impl PartialEq for Sample {
    fn eq(&self, other: &Self) -> bool {
        self.time_ms == other.time_ms && self.value.to_bits() == other.value.to_bits()
    }
}
