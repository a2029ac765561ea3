use super::*;
use crate::{Sample, SiteTrace, Trace};
use proptest::prelude::*;

const STEP_S: u32 = 5;

fn trace(latency: impl Fn(usize, usize) -> Option<f64>, samples: usize) -> Trace {
    let site = |site: usize| SiteTrace {
        name: format!("s{site}"),
        samples: (0..samples)
            .map(|at| Sample { latency_ms: latency(site, at), ..Sample::default() })
            .collect(),
    };
    Trace { start_s: 1_700_000_100, step_s: STEP_S, sites: vec![site(0), site(1)] }
}

fn setup() -> Setup {
    Setup { rounds: 20, ..Setup::default() }
}

fn row<'a>(found: &'a Comparison, name: &str) -> &'a Row {
    found.rows.iter().find(|row| row.policy == name).expect("it was asked for")
}

/// Half an hour bad here, then there: whoever looks at the last minutes can follow.
fn turns(site: usize, at: usize) -> Option<f64> {
    let turn = at / 360 % 2;
    Some(if turn == site { 150.0 + (at % 7) as f64 } else { 60.0 + (at % 5) as f64 })
}

#[test]
fn the_proactive_rule_follows_what_comes_and_goes_and_nobody_betters_the_oracle() {
    let trace = trace(turns, 6 * 720);
    let (learn, play) = trace.split(0.7);

    let found = replay(&learn, &play, Level::of(100.0), &Rule::ALL, &setup()).unwrap();

    let broken = |name: &str| row(&found, name).figures.sla_broken_s;
    assert!(broken("proactive") < 0.7 * broken("stay-a").min(broken("stay-b")), "{found:#?}");
    assert!(broken("proactive") <= broken("reactive"), "{found:#?}");
    assert!(found.rows.iter().all(|row| row.figures.sla_broken_s >= broken("oracle")));
    assert_eq!(row(&found, "oracle").figures.f1, 1.0);
    assert_eq!(row(&found, "stay-a").figures.migrations, 0.0);
}

/// By hand: the service is always at a site that breaks the level from sample 300 on, and no
/// rule may go.
#[test]
fn time_is_counted_once_and_costs_what_it_costs() {
    let latency = |_, at| (at < 1900).then_some(if at >= 1500 { 200.0 } else { 60.0 });
    let trace = trace(latency, 2000);
    let (learn, play) = trace.split(0.5);

    let found =
        replay(&learn, &play, Level::of(100.0), &[Rule::StayA, Rule::StayB], &setup()).unwrap();

    let stay = &row(&found, "stay-b").figures;
    assert_eq!(stay.sla_broken_s, 500.0 * 5.0);
    let prices = Prices::default();
    let second = f64::midpoint(prices.second(true), prices.second(false));
    let day = 86_400.0 * (second + prices.control_hour / 3600.0);
    let penalty = 400.0 * prices.penalty(Some(200.0), 100.0) + 100.0 * prices.penalty(None, 100.0);
    let expected = day + penalty * 5.0 * 86_400.0 / 5000.0;
    assert!(
        (stay.cost_per_day_eur - expected).abs() < 1e-6,
        "{} {expected}",
        stay.cost_per_day_eur
    );
    assert_eq!((stay.cost_per_day.migration, found.interval_80_holds), (0.0, None));
}

#[test]
fn what_does_not_fit_is_refused_with_a_reason() {
    let long = trace(turns, 2000);
    let (learn, play) = long.split(0.7);
    let says = |result: Result<Comparison>| result.unwrap_err().to_string();

    let mut alone = long.clone();
    alone.sites.pop();
    let slow = Setup { to_cloud_s: 300, ..setup() };
    let short = Stretch { trace: &long, span: 1900..2000 };
    let all = &Rule::ALL;
    assert!(
        says(replay(&alone.whole(), &alone.whole(), Level::of(1.0), all, &setup()))
            .contains("two sites")
    );
    assert!(
        says(replay(&learn, &play, Level::of(f64::NAN), all, &setup())).contains("service level")
    );
    assert!(says(replay(&learn, &play, Level::of(1.0), all, &slow)).contains("too close"));
    assert!(
        says(replay(&learn, &short, Level::of(1.0), all, &setup())).contains("too few to play")
    );
    assert!(
        says(replay(&short, &play, Level::of(1.0), all, &setup())).contains("too few to learn")
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    /// Whatever is measured, holes and all: no more moves than the cool-down allows, and nothing
    /// that is not a number comes out.
    #[test]
    fn never_oscillates(
        values in proptest::collection::vec(proptest::option::weighted(0.9, 1.0..400.0_f64), 40..200),
        hold in 1..40_usize,
        cool_down_s in 300..3600_u32,
    ) {
        let latency = |site: usize, at: usize| values[(at / hold + site * 7) % values.len()];
        let trace = trace(latency, 3000);
        let (learn, play) = trace.split(0.6);
        let setup = Setup { cool_down_s, ..setup() };

        let found =
            replay(&learn, &play, Level::of(120.0), &[Rule::Proactive, Rule::Oracle], &setup).unwrap();

        let ours = &row(&found, "proactive").figures;
        let allowed = (play.span.len() as f64 * 5.0 / f64::from(cool_down_s)).floor() + 1.0;
        prop_assert!(ours.migrations <= allowed, "{} of {allowed}", ours.migrations);
        prop_assert!(ours.sla_broken_s >= row(&found, "oracle").figures.sla_broken_s);
        for figure in [ours.f1, ours.cost_per_day_eur, ours.intervals.sla_broken_s.1] {
            prop_assert!(figure.is_finite());
        }
    }
}
