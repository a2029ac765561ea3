//! Where policies get their measurements from.

use crate::Result;
use std::collections::BTreeMap;

/// One series of measurements.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Series {
    /// What it is of, such as `site="edge"`.
    pub labels: BTreeMap<String, String>,
    /// Unix time in milliseconds and value.
    pub points: Vec<(i64, f64)>,
}

/// A store of measurements.
pub trait Telemetry: std::fmt::Debug + Send + Sync {
    /// What a query, asked by a tenant, says of a stretch of Unix time in milliseconds, both ends
    /// included, at steps of this length; `asked` is the tenant and the query. Series of other tenants are not seen.
    ///
    /// # Errors
    /// A query that is not understood, or a store that does not answer.
    fn range(
        &self,
        asked: (&str, &str),
        from_ms: i64,
        to_ms: i64,
        step_ms: u64,
    ) -> Result<Vec<Series>>;

    /// What was measured of series in a stretch of Unix time in milliseconds, both ends included, at
    /// the times at which it was: `asked` is the tenant and a selector.
    ///
    /// # Errors
    /// As of [`Telemetry::range`]; a query that is no selector.
    fn points(&self, asked: (&str, &str), from_ms: i64, to_ms: i64) -> Result<Vec<Series>>;
}

/// Points at any time, in any order, as samples at steps that end at `now_ms`: of several of a step
/// the latest counts, and what is no number or is stamped later than now does not.
pub fn on_grid(points: &[(i64, f64)], now_ms: i64, step_ms: u64, count: usize) -> Vec<Option<f64>> {
    let step = i64::try_from(step_ms.max(1)).unwrap_or(i64::MAX);
    let mut latest: Vec<Option<(i64, f64)>> = vec![None; count];
    for &(at, value) in points {
        let Some(age) = now_ms.checked_sub(at).filter(|age| *age >= 0 && value.is_finite()) else {
            continue;
        };
        let Some(place) =
            usize::try_from(age / step).ok().and_then(|age| count.checked_sub(age + 1))
        else {
            continue;
        };
        if latest[place].is_none_or(|(before, _)| at >= before) {
            latest[place] = Some((at, value));
        }
    }
    latest.into_iter().map(|point| point.map(|(_, value)| value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_doubled_and_future_points_are_put_where_they_belong() {
        let points = [(30, 3.0), (10, 1.0), (31, 4.0), (99, 9.0), (20, f64::NAN), (-500, 7.0)];

        let samples = on_grid(&points, 39, 10, 4);

        assert_eq!(samples, [None, Some(1.0), None, Some(4.0)]);
        assert_eq!(on_grid(&[(i64::MIN, 1.0), (i64::MAX, 1.0)], i64::MAX, 0, 1), [Some(1.0)]);
    }
}
