//! What several sites tell of how figures are distributed, as one.

use super::{attempt::Sites, check, check::Fault};
use crate::model::{
    Conformal, Tenths, Trained,
    trained::{GRAIN, Reference},
};

type Result<T> = std::result::Result<T, Fault>;

/// The reference of all rows. Means and shares are those that one place would find; cuts and the
/// level of high truths are read from the sites' own.
pub(super) fn reference(
    sites: &mut Sites,
    rows: &[f64],
    counts: &[f64],
    base: f64,
) -> Result<Reference> {
    let width = counts.len() / rows.len().max(1);
    let told = sites.ask(2 + 9 * width, "its figures", |site| site.reference())?;
    let means = check::averaged(&told, rows);
    let cuts = |figure: usize| {
        let each = told
            .iter()
            .enumerate()
            .map(|(at, told)| (counts[at * width + figure], &told[2 + 9 * figure..][..9]));
        merged(&each.filter(|(count, _)| *count > 0.0).collect::<Vec<_>>())
    };
    let mut tenths: Vec<Tenths> =
        (0..width).map(|figure| Tenths { cuts: cuts(figure), shares: [0.1; 10] }).collect();
    let told = sites.ask(10 * width, "its shares", |site| site.shares(&tenths))?;
    let shares = check::summed(&told);
    for (figure, tenths) in tenths.iter_mut().enumerate() {
        let own = &shares[10 * figure..][..10];
        let all: f64 = own.iter().sum();
        if all > 0.0 {
            tenths.shares = std::array::from_fn(|tenth| own[tenth] / all);
        }
    }
    let grain = (GRAIN * means[1].abs()).max(1e-6);
    Ok(Reference { usual: base, high: means[0], grain, series: means[1], tenths })
}

/// The cuts of all sites' values together: where their distributions, each by its count, reach a tenth.
fn merged(each: &[(f64, &[f64])]) -> [f64; 9] {
    let all: f64 = each.iter().map(|(count, _)| count).sum();
    let mut points: Vec<f64> = each.iter().flat_map(|(_, cuts)| cuts.iter().copied()).collect();
    points.sort_by(f64::total_cmp);
    let below = |x: f64| {
        let share = |(count, cuts): &(f64, &[f64])| count * reached(cuts, x);
        each.iter().map(share).sum::<f64>() / all
    };
    std::array::from_fn(|cut| {
        let share = (cut + 1) as f64 / 10.0 - 1e-9;
        let reaches = points.iter().find(|point| below(**point) >= share);
        reaches.or(points.last()).copied().unwrap_or(0.0)
    })
}

/// The share of a distribution with these nine cuts that lies at or below a value. The tenths at
/// its ends, whose limits are not told, are taken to be as wide as those beside them.
fn reached(cuts: &[f64], x: f64) -> f64 {
    let at = cuts.partition_point(|cut| *cut <= x);
    let last = cuts.len() - 1;
    let (from, low, high) = match at {
        0 => (0.0, 2.0 * cuts[0] - cuts[1], cuts[0]),
        at if at > last => (at as f64, cuts[last], 2.0 * cuts[last] - cuts[last - 1]),
        at => (at as f64, cuts[at - 1], cuts[at]),
    };
    let part = if high > low { ((x - low) / (high - low)).clamp(0.0, 1.0) } else { 0.0 };
    let beyond = if at > last && high <= low && x > high { 1.0 } else { part };
    (from + beyond) / 10.0
}

/// Intervals of the sites' errors, of each as many as its rows are of all.
pub(super) fn conformal(errors: &[Vec<f64>]) -> Conformal {
    let mut conformal = Trained::untaught();
    // In turn, so that the first that are forgotten are of all sites.
    let most = errors.iter().map(Vec::len).max().unwrap_or(0);
    for at in 0..most {
        for own in errors {
            let from = at * own.len() / most;
            let to = (at + 1) * own.len() / most;
            own[from..to].iter().for_each(|error| conformal.learn(0.0, 1.0, None, *error));
        }
    }
    conformal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_of_two_halves_are_those_of_the_whole() {
        let whole: Vec<f64> = (0..1000).map(f64::from).collect();
        let cuts = |values: &[f64]| Tenths::new(values.to_vec()).cuts;
        let (low, high) = (cuts(&whole[..400]), cuts(&whole[400..]));

        let merged = merged(&[(400.0, &low), (600.0, &high)]);

        for (one, other) in merged.iter().zip(cuts(&whole)) {
            // No finer than the sites' own cuts lie.
            assert!((one - other).abs() < 61.0, "{one} {other}");
        }
        assert_eq!(super::merged(&[(10.0, &low)]), low);
        assert_eq!(super::merged(&[]), [0.0; 9]);
    }
}
