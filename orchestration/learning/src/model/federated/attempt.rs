//! The coordinator: asks all sites, joins what they tell, and begins again without those whose
//! answers cannot be used.

use super::{
    Lineage, Part, Refused,
    check::{self, Answer, Fault},
    local::{Common, ERRORS_MAX, Lens, Site},
    merge,
};
use crate::{
    Error,
    model::{
        Boosting, Examples, Fitted, Method, Network, Polynomial, Ridge, Trained, Trees, Usual,
        lstm::{self, Lstm},
        method::Body,
        polynomial::{self, CROSSED_MAX},
        ridge,
        tree::Tree,
    },
};
use std::cell::Cell;

type Result<T> = std::result::Result<T, Fault>;

/// Fewer are no federation.
const SITES_MIN: usize = 2;
/// Errors for intervals are of the rows behind this share; the model is fitted to all rows.
const LEARN_SHARE: f64 = 0.8;
/// Rounds of a network, at most.
const ROUNDS_MAX: usize = 300;

/// All sites that take part.
#[derive(Debug)]
pub(super) struct Sites<'a> {
    each: Vec<Box<dyn Site + 'a>>,
    rounds: Cell<u32>,
    sent: Cell<u64>,
}

/// What all sites' columns have in common.
#[derive(Debug)]
struct Summary {
    common: Common,
    /// Rows of each site.
    rows: Vec<f64>,
    /// Values of each site's columns, one site after the other.
    counts: Vec<f64>,
    /// How far truths are apart.
    deviation: f64,
    /// How far each column's values are apart.
    deviations: Vec<f64>,
}

/// Trains at these sites; `examples` are of one of them, for the question alone.
pub(super) fn trained(
    each: Vec<Box<dyn Site + '_>>,
    examples: &Examples,
    method: Method,
    seed: u64,
) -> crate::Result<(Trained, Lineage)> {
    let mut sites = Sites { each, rounds: Cell::new(0), sent: Cell::new(0) };
    let mut refused = Vec::new();
    loop {
        if sites.each.len() < SITES_MIN {
            return Err(Error::Unfit(too_few(sites.each.len(), &refused)));
        }
        match attempt(&mut sites, examples, &method, seed) {
            Ok((model, parts)) => {
                let (rounds, sent_bytes) = (sites.rounds.get(), sites.sent.get());
                return Ok((model, Lineage { parts, refused, rounds, sent_bytes }));
            }
            Err(Fault::Training(error)) => return Err(error),
            Err(Fault::Site(at, why)) => {
                let site = sites.each.remove(at).name().to_owned();
                refused.push(Refused { site, why });
            }
        }
    }
}

fn too_few(left: usize, refused: &[Refused]) -> String {
    let each = refused.iter().map(|one| format!("; `{}`: {}", one.site, one.why));
    let why: String = each.collect();
    format!("{left} sites can be trained at, {SITES_MIN} are the fewest{why}")
}

fn attempt(
    sites: &mut Sites,
    examples: &Examples,
    method: &Method,
    seed: u64,
) -> Result<(Trained, Vec<Part>)> {
    sites.each.iter_mut().for_each(|site| site.take(LEARN_SHARE));
    let (summary, body) = fit(sites, method, seed)?;
    let reference = reference(sites, &summary)?;
    let most = by_rows(&summary.rows);
    let each = sites.each.iter().zip(&most);
    let errors = each.map(|(site, most)| site.errors(&body, reference.grain, *most));
    let errors: Vec<Vec<f64>> = errors.collect();
    sites.count(errors.iter().map(Vec::len).sum());
    for (at, (errors, most)) in errors.iter().zip(&most).enumerate() {
        check::numbers(at, Ok(errors.clone()), errors.len().min(*most), "its errors")?;
    }
    sites.each.iter_mut().for_each(|site| site.take(1.0));
    let (summary, body) = fit(sites, method, seed)?;
    let reference = self::reference(sites, &summary)?;
    let conformal = merge::conformal(&errors);
    let model = Trained::new(examples, *method, body, reference, conformal);
    if !model.is_sound() {
        let text = "what the sites told does not make a model that can be asked";
        return Err(Error::Unfit(text.into()).into());
    }
    let each = sites.each.iter().zip(&summary.rows);
    let parts = each.map(|(site, rows)| Part { site: site.name().to_owned(), rows: *rows as u64 });
    Ok((model, parts.collect()))
}

/// How many errors each site tells, so that in the intervals it weighs what its rows weigh.
fn by_rows(rows: &[f64]) -> Vec<usize> {
    let most = rows.iter().copied().fold(1.0, f64::max);
    let share = |rows: &f64| (ERRORS_MAX as f64 * rows / most).round() as usize;
    rows.iter().map(|rows| share(rows).max(1)).collect()
}

fn reference(sites: &mut Sites, summary: &Summary) -> Result<crate::model::Reference> {
    merge::reference(sites, &summary.rows, &summary.counts, summary.common.base)
}

/// Fits to the rows that sites learn from now.
fn fit(sites: &mut Sites, method: &Method, seed: u64) -> Result<(Summary, Body)> {
    let summary = summary(sites, Lens::Plain)?;
    let body = match *method {
        Method::Ridge { penalty } => {
            Body::Row(Fitted::Ridge(ridge(sites, Lens::Plain, &summary, penalty)?))
        }
        Method::Polynomial { penalty, crossed } => {
            Body::Row(Fitted::Polynomial(polynomial(sites, &summary, penalty, crossed)?))
        }
        Method::Gbm(boosting) => {
            Body::Row(Fitted::Trees(self::boosting(sites, &summary, boosting)?))
        }
        Method::Lstm(network) => Body::Lstm(self::network(sites, &summary, &network, seed)?),
        _ => {
            let text = format!(
                "`{}` is not trained where the data are: write ridge, polynomial, gbm or lstm",
                method.name()
            );
            return Err(Error::Unfit(text).into());
        }
    };
    Ok((summary, body))
}

impl Sites<'_> {
    /// Asks all for so many numbers.
    pub(super) fn ask(
        &mut self,
        length: usize,
        what: &str,
        ask: impl Fn(&dyn Site) -> Answer,
    ) -> Result<Vec<Vec<f64>>> {
        let each = self.each.iter().enumerate();
        let told = each.map(|(at, site)| check::numbers(at, ask(&**site), length, what));
        let told: Vec<_> = told.collect::<Result<_>>()?;
        self.count(told.len() * length);
        Ok(told)
    }

    /// Counts a round in which sites told so many numbers.
    fn count(&self, numbers: usize) {
        self.rounds.set(self.rounds.get() + 1);
        self.sent.set(self.sent.get() + 8 * numbers as u64);
    }
}

fn summary(sites: &mut Sites, lens: Lens) -> Result<Summary> {
    let width = sites.each[0].sums(lens).map_or(0, |sums| sums.len());
    let told = sites.ask(width, "its sums", |site| site.sums(lens))?;
    if width < 4 {
        return Err(Fault::Site(0, "its sums: it told of no columns".into()));
    }
    for (at, sums) in told.iter().enumerate() {
        check::counts(at, sums)?;
    }
    let all = check::summed(&told);
    let by = |sum: f64, count: f64| if count > 0.0 { sum / count } else { 0.0 };
    let columns: Vec<(f64, f64)> =
        all[2..].chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
    let usual: Vec<f64> = columns.iter().map(|(count, sum)| by(*sum, *count)).collect();
    let mut common = Common { scale: vec![1.0; usual.len()], usual, base: by(all[1], all[0]) };
    let squares =
        sites.ask(columns.len() + 1, "its squares", |site| site.squares(lens, &common))?;
    if let Some(at) = squares.iter().position(|told| told.iter().any(|square| *square < 0.0)) {
        return Err(Fault::Site(at, "its squares: some are below 0".into()));
    }
    let own = told.iter().zip(&squares).map(|(sums, squares)| {
        let mean = sums[1] / sums[0];
        // Around its own mean, by what it told around that of all.
        let variance = squares[0] / sums[0] - (mean - common.base).powi(2);
        (mean, variance.max(0.0).sqrt())
    });
    check::truths(&own.collect::<Vec<_>>())?;
    let sum = check::summed(&squares);
    let deviations: Vec<f64> =
        sum[1..].iter().zip(&columns).map(|(sum, (count, _))| by(*sum, *count).sqrt()).collect();
    let scales = deviations.iter().zip(&common.usual);
    common.scale = scales.map(|(deviation, usual)| ridge::scale_of(*deviation, *usual)).collect();
    Ok(Summary {
        rows: told.iter().map(|sums| sums[0]).collect(),
        counts: told.iter().flat_map(|sums| sums[2..].iter().step_by(2).copied()).collect(),
        deviation: (sum[0] / all[0]).sqrt(),
        deviations,
        common,
    })
}

fn ridge(sites: &mut Sites, lens: Lens, summary: &Summary, penalty: f64) -> Result<Ridge> {
    if !(penalty > 0.0 && penalty.is_finite()) {
        return Err(Error::Unfit(format!("a penalty of {penalty}: it must be above 0")).into());
    }
    let (common, width) = (&summary.common, summary.common.usual.len());
    let length = width * width + width;
    let told = sites.ask(length, "its products", |site| site.products(lens, common))?;
    for (at, (told, rows)) in told.iter().zip(&summary.rows).enumerate() {
        // Standardised by all, a column of a site may be larger, but a square is never below 0.
        let sound = (0..width).all(|column| told[column * width + column] >= 0.0)
            && (0..width).all(|one| {
                (0..one).all(|other| {
                    let (a, b) = (told[one * width + other], told[other * width + one]);
                    (a - b).abs() <= 1e-6 * rows * (1.0 + a.abs())
                })
            });
        if !sound {
            return Err(Fault::Site(at, "its products: they are those of no columns".into()));
        }
    }
    let mut sum = check::summed(&told);
    let right = sum.split_off(width * width);
    let scaled = (Usual(common.usual.clone()), common.scale.as_slice());
    Ok(Ridge::of_sums(common.base, scaled, sum, right, penalty))
}

fn polynomial(
    sites: &mut Sites,
    summary: &Summary,
    penalty: f64,
    crossed: usize,
) -> Result<Polynomial> {
    let usual = &summary.common.usual;
    let apart = summary.deviations.iter().zip(usual);
    let apart = apart.map(|(deviation, usual)| polynomial::deviation_of(*deviation, *usual));
    let bare = Polynomial::bare(Usual(usual.clone()), apart.collect());
    let base = summary.common.base;
    let told = sites.ask(usual.len(), "its correlations", |site| site.goes_with(&bare, base))?;
    let crossed = Polynomial::most(&check::summed(&told), crossed.min(CROSSED_MAX));
    let chosen = bare.with(crossed.clone(), Ridge::nothing());
    let wide = self::summary(sites, Lens::Wide(&chosen))?;
    let ridge = ridge(sites, Lens::Wide(&chosen), &wide, penalty)?;
    Ok(chosen.with(crossed, ridge))
}

fn boosting(sites: &mut Sites, summary: &Summary, boosting: Boosting) -> Result<Trees> {
    let (width, all) = (summary.common.usual.len(), summary.rows.iter().sum::<f64>());
    if boosting.trees.saturating_mul(sites.each.len()) > 100_000 {
        let what = format!("{} trees at {} sites", boosting.trees, sites.each.len());
        return Err(Error::TooMuch { what, limit: 100_000 }.into());
    }
    for site in &mut sites.each {
        site.begin(summary.common.base)?;
    }
    let mut trees = Vec::new();
    for _ in 0..boosting.trees {
        let mut round = Vec::with_capacity(sites.each.len());
        for (at, (site, rows)) in sites.each.iter_mut().zip(&summary.rows).enumerate() {
            let tree = site.grow(boosting.growth)?;
            round.push(check::tree(at, &tree, (width, summary.deviation, rows / all))?);
        }
        sites.count(sent(&round));
        sites.each.iter_mut().for_each(|site| site.correct(boosting.rate, &round));
        trees.extend(round);
    }
    let usual = Usual(summary.common.usual.clone());
    Ok(Trees::of(summary.common.base, boosting.rate, usual, trees))
}

/// Numbers that trees are told with: three for each node.
fn sent(trees: &[Tree]) -> usize {
    trees.iter().map(|tree| 3 * tree.branches().count()).sum()
}

fn network(sites: &mut Sites, summary: &Summary, network: &Network, seed: u64) -> Result<Lstm> {
    network.check().map_err(Fault::Training)?;
    let length = 2 * (lstm::CHANNELS + 1);
    let by = |sum: f64, count: f64| if count > 0.0 { sum / count } else { 0.0 };
    let told = sites.ask(length, "its channels", |site| site.channels(None))?;
    let sums = check::summed(&told);
    let middles: Vec<f64> = sums.chunks_exact(2).map(|pair| by(pair[1], pair[0])).collect();
    let told = sites.ask(length, "its channels", |site| site.channels(Some(&middles)))?;
    let sums = check::summed(&told);
    let scale = |(pair, middle): (&[f64], &f64)| {
        let deviation = by(pair[1], pair[0]).max(0.0).sqrt();
        let flat = deviation <= 1e-9 * middle.abs().max(1.0);
        (*middle, if flat { 1.0 } else { deviation })
    };
    let mut scales: Vec<(f64, f64)> = sums.chunks_exact(2).zip(&middles).map(scale).collect();
    let truths = scales.pop().unwrap_or((0.0, 1.0));
    let mut model = Lstm::unlearned(scales, truths, network.units, seed);
    // As many steps one after the other as in one place, where all rows make them.
    let rounds = (network.epochs * sites.each.len()).min(ROUNDS_MAX);
    for round in 0..rounds {
        let left = 1.0 - round as f64 / rounds as f64;
        let how = Network { epochs: 1, rate: (network.rate * left).max(1e-6), ..*network };
        let weights = model.weights().to_vec();
        let seed = seed.wrapping_add(1 + round as u64);
        let told =
            sites.ask(weights.len(), "its weights", |site| site.further(&model, &how, seed))?;
        let step = |told: &Vec<f64>| -> Vec<f64> {
            told.iter().zip(&weights).map(|(now, before)| now - before).collect()
        };
        let mut steps: Vec<Vec<f64>> = told.iter().map(step).collect();
        check::clipped(&mut steps);
        let mean = check::averaged(&steps, &summary.rows);
        let next = weights.iter().zip(mean).map(|(before, step)| before + step).collect();
        model = model.with_weights(next);
    }
    Ok(model)
}

#[cfg(test)]
mod tests {
    #[test]
    fn errors_are_told_by_rows() {
        assert_eq!(super::by_rows(&[4000.0, 1000.0, 1.0, 4000.0]), [300, 75, 1, 300]);
    }
}
