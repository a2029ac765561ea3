//! Training at several sites beside training in one place, with sites that are alike, that are
//! not, and that lie.

use super::{
    attempt,
    check::Answer,
    local::{Common, Lens, Local, Site},
    *,
};
use crate::{
    Sample, SiteTrace, Trace,
    features::mean,
    model::{
        Boosting, Draw, Growth, Network, Polynomial, Question, Target, Tenths, lstm::Lstm,
        method::Body, train as train_centrally, tree::Tree,
    },
};
use std::ops::ControlFlow;

/// Some hours of one site: its latency follows its processors, in bursts that come at random.
fn trace(seed: u64, busy: f64, hours: usize) -> Trace {
    let mut draw = Draw(seed);
    let (mut part, mut level) = (move || draw.below(1 << 20) as f64 / f64::from(1 << 20), 0.0);
    let sample = |_| {
        level += 0.02 * (busy - level) + 0.3 * (part() - 0.5);
        let cpu = (2.0 + level).clamp(0.1, 3.9);
        let latency = 40.0 + 4.0 * cpu * cpu + 4.0 * part();
        Sample { latency_ms: Some(latency), cpu: Some(cpu), ..Sample::default() }
    };
    let samples = (0..hours * 360).map(sample).collect();
    Trace {
        start_s: 1_700_000_000,
        step_s: 10,
        sites: vec![SiteTrace { name: "a".into(), samples }],
    }
}

/// One after the other, as if one site had measured all.
fn joined(traces: &[Trace]) -> Trace {
    let mut all = traces[0].clone();
    for other in &traces[1..] {
        // Whoever looks back over the seam finds nothing.
        all.sites[0].samples.extend([Sample::default(); 400]);
        all.sites[0].samples.extend(&other.sites[0].samples);
    }
    all
}

fn question() -> Question {
    Question::new(Target::Latency, (0, 120))
}

fn examples(trace: &Trace) -> Examples<'_> {
    Examples::new(&trace.whole(), &question()).unwrap()
}

fn rmse(model: &Trained, trace: &Trace) -> f64 {
    let met = model.walked(&examples(trace)).unwrap();
    mean(met.iter().map(|met| (met.value - met.truth).powi(2))).sqrt()
}

/// Three sites with as different loads as there are, or with the same.
fn worlds(alike: bool) -> Vec<Trace> {
    let busy = |at: u64| if alike { 0.0 } else { at as f64 - 1.0 };
    (0..3).map(|at| trace(10 + at, busy(at), 3 + at as usize)).collect()
}

fn federated(traces: &[Trace], method: Method) -> (Trained, Lineage) {
    let examples: Vec<_> = traces.iter().map(examples).collect();
    let parties: Vec<_> = examples
        .iter()
        .zip(["a", "b", "c", "d", "e"])
        .map(|(examples, site)| Party { site, examples })
        .collect();
    train(&parties, method, 1).unwrap()
}

fn growth(leaf_rows: u32) -> Growth {
    Growth { leaves: 8, leaf_rows, ..Growth::default() }
}

/// How much larger the error is than that of a model that was trained in one place, on hours of all
/// sites that none has seen.
fn worse(method: Method, alike: bool) -> f64 {
    let worlds = worlds(alike);
    let (model, lineage) = federated(&worlds, method);
    assert_eq!(lineage.refused, []);
    assert_eq!(lineage.parts.len(), 3);
    let whole = joined(&worlds);
    let central =
        train_centrally(&examples(&whole), method, 1, &|_| ControlFlow::Continue(())).unwrap();
    let busy = |at: u64| if alike { 0.0 } else { at as f64 - 1.0 };
    let unseen: Vec<_> = (0..3).map(|at| trace(50 + at, busy(at), 3)).collect();
    let of = |model: &Trained| mean(unseen.iter().map(|trace| rmse(model, trace).powi(2))).sqrt();
    of(&model) / of(&central)
}

#[test]
fn sums_of_sites_make_the_model_of_all_rows() {
    for alike in [true, false] {
        let worlds = worlds(alike);
        for method in
            [Method::Ridge { penalty: 30.0 }, Method::Polynomial { penalty: 100.0, crossed: 6 }]
        {
            let (model, lineage) = federated(&worlds, method);
            // The rows of all sites in one place, exactly.
            let each: Vec<_> = worlds.iter().map(examples).collect();
            let rows: Vec<_> = each.iter().flat_map(|one| one.rows.clone()).collect();
            let truths: Vec<_> = each.iter().flat_map(|one| one.truths.clone()).collect();
            let central: Box<dyn crate::model::Model> = match method {
                Method::Ridge { penalty } => {
                    let design = crate::model::Design::new(&rows).unwrap();
                    Box::new(design.fit(&truths, penalty).unwrap())
                }
                _ => Box::new(Polynomial::fit(&rows, &truths, 100.0, 6).unwrap()),
            };
            let fitted = model.fitted().unwrap();
            for row in rows.iter().step_by(17) {
                use crate::model::Model;
                let (one, other) = (fitted.predict(row), central.predict(row));
                assert!((one - other).abs() < 1e-6 * other.abs(), "{one} {other}");
            }
            let rows: u64 = lineage.parts.iter().map(|part| part.rows).sum();
            assert_eq!(rows as usize, truths.len());
            assert!(lineage.sent_bytes > 0 && lineage.rounds >= 6);
            let met = model.walked(&examples(&trace(77, 0.0, 3))).unwrap();
            let inside = met.iter().filter(|met| {
                met.interval.is_some_and(|(low, high)| (low..=high).contains(&met.truth))
            });
            let share = inside.count() as f64 / met.len() as f64;
            assert!((0.65..0.95).contains(&share), "{share}");
        }
    }
}

#[test]
fn trees_of_sites_are_about_as_good_as_those_of_one_place() {
    let gbm = Method::Gbm(Boosting { trees: 60, rate: 0.1, growth: growth(20) });
    for (method, alike, most) in [(gbm, true, 1.05), (gbm, false, 1.25)] {
        let worse = worse(method, alike);
        assert!(worse < most, "{}: {worse}, alike: {alike}", method.name());
    }
}

#[test]
fn averaged_networks_are_about_as_good_as_one() {
    let network = Method::Lstm(Network { units: 6, epochs: 8, rate: 1e-2, ..Network::default() });
    for (alike, most) in [(true, 1.15), (false, 1.25)] {
        let worse = worse(network, alike);
        assert!(worse < most, "{worse}, alike: {alike}");
    }
}

#[test]
fn kinds_and_sites_that_cannot_be_are_refused() {
    let worlds = worlds(true);
    let each: Vec<_> = worlds.iter().map(examples).collect();
    let party = |at: usize| Party { site: "a", examples: &each[at] };
    let why =
        |parties: &[Party], method: Method| train(parties, method, 1).unwrap_err().to_string();
    let ridge = Method::Ridge { penalty: 1.0 };

    assert!(why(&[party(0), party(1)], Method::Naive).contains("`naive` is not trained where"));
    assert!(why(&[party(0)], ridge).contains("1 sites can be trained at"));
    assert!(why(&[], ridge).contains("no sites"));
    assert!(why(&[party(0), party(1)], Method::Ridge { penalty: 0.0 }).contains("above 0"));
    let other = Trace { step_s: 5, ..worlds[0].clone() };
    let odd = examples(&other);
    let odd = Party { site: "odd", examples: &odd };
    assert!(why(&[party(0), odd], ridge).contains("`odd` does not measure"));
    assert!(why(&[party(0); SITES_MAX + 1], ridge).contains("limit of 256"));
}

/// What a site does to its answers.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Lie {
    NoNumber,
    Short,
    Scaled(f64),
    Rows,
    Fails,
}

#[derive(Debug)]
struct Liar<'a>(Local<'a>, Lie);

impl Liar<'_> {
    fn lie(&self, told: Answer) -> Answer {
        let mut told = told?;
        match self.1 {
            Lie::NoNumber => told[0] = f64::NAN,
            Lie::Short => drop(told.pop()),
            Lie::Scaled(by) => told.iter_mut().for_each(|number| *number *= by),
            Lie::Rows => told[0] = 1e300,
            Lie::Fails => return Err(Error::Unfit("its disk is gone".into())),
        }
        Ok(told)
    }
}

impl Site for Liar<'_> {
    fn name(&self) -> &str {
        "liar"
    }
    fn take(&mut self, share: f64) {
        self.0.take(share);
    }
    fn sums(&self, lens: Lens) -> Answer {
        match self.1 {
            // A poisoned meter: truths a thousand times as high.
            Lie::Scaled(by) => self.0.sums(lens).map(|mut sums| {
                sums[1] *= by;
                sums
            }),
            _ => self.lie(self.0.sums(lens)),
        }
    }
    fn squares(&self, lens: Lens, common: &Common) -> Answer {
        self.0.squares(lens, common)
    }
    fn products(&self, lens: Lens, common: &Common) -> Answer {
        self.0.products(lens, common)
    }
    fn goes_with(&self, polynomial: &Polynomial, base: f64) -> Answer {
        self.0.goes_with(polynomial, base)
    }
    fn begin(&mut self, base: f64) -> crate::Result<()> {
        self.0.begin(base)
    }
    fn grow(&mut self, growth: Growth) -> crate::Result<Tree> {
        self.0.grow(growth)
    }
    fn correct(&mut self, rate: f64, trees: &[Tree]) {
        self.0.correct(rate, trees);
    }
    fn channels(&self, middles: Option<&[f64]>) -> Answer {
        self.0.channels(middles)
    }
    fn further(&self, network: &Lstm, how: &Network, seed: u64) -> Answer {
        self.0.further(network, how, seed)
    }
    fn reference(&self) -> Answer {
        self.0.reference()
    }
    fn shares(&self, tenths: &[Tenths]) -> Answer {
        self.0.shares(tenths)
    }
    fn errors(&self, body: &Body, grain: f64, most: usize) -> Vec<f64> {
        self.0.errors(body, grain, most)
    }
}

#[test]
fn a_site_that_lies_is_left_out_with_the_reason() {
    let worlds: Vec<_> = (0..4).map(|at| trace(30 + at, 0.0, 3)).collect();
    let each: Vec<_> = worlds.iter().map(examples).collect();
    let ridge = Method::Ridge { penalty: 30.0 };
    let local =
        |at: usize| Local::new(&Party { site: ["a", "b", "c", "d"][at], examples: &each[at] });
    let honest: Vec<Box<dyn Site + '_>> =
        (1..4).map(|at| Box::new(local(at)) as Box<dyn Site + '_>).collect();
    let (alone, _) = attempt::trained(honest, &each[0], ridge, 1).unwrap();
    for (lie, why) in [
        (Lie::NoNumber, "not all that it told are numbers"),
        (Lie::Short, "numbers were to be told"),
        (Lie::Rows, "it cannot have"),
        (Lie::Scaled(1000.0), "far from those of the others"),
        (Lie::Fails, "its disk is gone"),
    ] {
        let mut sites: Vec<Box<dyn Site + '_>> =
            (1..4).map(|at| Box::new(local(at)) as Box<dyn Site + '_>).collect();
        sites.push(Box::new(Liar(local(0), lie)));

        let (model, lineage) = attempt::trained(sites, &each[0], ridge, 1).unwrap();

        assert_eq!(lineage.refused.len(), 1, "{lie:?}: {lineage:?}");
        assert_eq!(lineage.refused[0].site, "liar");
        assert!(lineage.refused[0].why.contains(why), "{lie:?}: {:?}", lineage.refused);
        assert_eq!(model.fitted(), alone.fitted(), "{lie:?}");
    }
    let lonely: Vec<Box<dyn Site + '_>> =
        vec![Box::new(local(1)), Box::new(Liar(local(0), Lie::NoNumber))];
    let error = attempt::trained(lonely, &each[0], ridge, 1).unwrap_err();
    assert!(error.to_string().contains("`liar`: its sums: not all"), "{error}");
}
