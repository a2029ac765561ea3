//! Medians, percentiles and bootstrap bounds.

/// How often the bootstrap draws.
const RESAMPLES: usize = 4000;

/// The middle value; the mean of the two middle ones of an even number. NaN of nothing.
pub(crate) fn median(values: &[f64]) -> f64 {
    let sorted = sorted(values);
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        size if size % 2 == 1 => sorted[half],
        _ => f64::midpoint(sorted[half - 1], sorted[half]),
    }
}

/// The smallest value that `share` (0 to 1) of the values do not exceed. NaN of nothing.
pub(crate) fn percentile(values: &[f64], share: f64) -> f64 {
    let sorted = sorted(values);
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(f64::NAN)
}

/// The largest value. NaN of nothing.
pub(crate) fn maximum(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NAN, f64::max)
}

/// Bounds of the median, each with 95 % confidence, by the percentile bootstrap (Efron 1979).
/// The draws are the same in each run.
pub(crate) fn median_bounds(values: &[f64]) -> (f64, f64) {
    let mut state = 0x9e37_79b9_7f4a_7c15;
    let mut drawn = vec![0.0; values.len()];
    let medians: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            for slot in &mut drawn {
                *slot = values[(next(&mut state) % values.len() as u64) as usize];
            }
            median(&drawn)
        })
        .collect();
    (percentile(&medians, 0.05), percentile(&medians, 0.95))
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// SplitMix64 (Steele, Lea and Flood 2014).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_the_ends() {
        let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();

        assert_eq!(median(&values), 50.5);
        assert_eq!(median(&values[..99]), 51.0);
        assert_eq!(percentile(&values, 0.99), 99.0);
        assert_eq!(percentile(&values, 1.0), 100.0);
        assert_eq!(percentile(&values, 0.0), 1.0);
        assert_eq!(maximum(&values), 100.0);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn bounds_hold_the_median_and_narrow_with_more_values() {
        let spread = |count: u32| -> f64 {
            let values: Vec<f64> = (0..count).map(|n| f64::from(n * 7919 % 1000)).collect();
            let (low, high) = median_bounds(&values);
            let middle = median(&values);
            assert!(low <= middle && middle <= high, "{low} {middle} {high}");
            high - low
        };

        assert!(spread(1000) < spread(30));
        assert_eq!(median_bounds(&[3.0; 30]), (3.0, 3.0));
    }
}
