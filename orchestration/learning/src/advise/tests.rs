//! What is said of places, against a world whose rule is known.

use super::*;
use crate::{Prediction, Prices, Reason, model::Draw};
use api::service::Prefer;

const WORK_MS: f64 = 20.0;

/// In truth neighbours cost more than queues say, and the edge's machines are half as fast again.
fn truth(work_ms: f64, site: &str, rate: f64, others: f64) -> f64 {
    let work = Work { work_ms, fixed_ms: 0.0 };
    let slower = if site == "edge" { 1.5 } else { 1.0 };
    expected_ms(&work, rate, 4.0, others) * slower * (1.0 + 0.8 * others / 4.0)
}

fn part(draw: &mut Draw) -> f64 {
    draw.below(1 << 20) as f64 / f64::from(1 << 20)
}

/// So many half minutes of a service at a site, under changing load and neighbours.
fn observed(service: &str, site: &str, work_ms: f64, count: i64, draw: &mut Draw) -> Observed {
    let mut moment = |at: i64| {
        let (rate, others) = (2.0 + 10.0 * part(draw), 3.0 * part(draw));
        let noise = (0.2 * (part(draw) - 0.5)).exp();
        let latency_ms = truth(work_ms, site, rate, others) * noise;
        Moment { at_s: 30 * at, rate, own: rate * work_ms / 1000.0, others, latency_ms }
    };
    let moments = (0..count).map(&mut moment).collect();
    Observed { service: service.into(), site: site.into(), processors: 4.0, moments }
}

/// `a` was at both sites, `b` at the cloud alone.
fn world() -> Learned {
    let draw = &mut Draw(7);
    Learned::of(&[
        observed("a", "edge", 15.0, 120, draw),
        observed("a", "cloud", 15.0, 120, draw),
        observed("b", "cloud", WORK_MS, 120, draw),
    ])
}

fn place(site: &str, others: f64) -> Place {
    let edge = site == "edge";
    Place { site: site.into(), edge, processors: 4.0, others, forecast: None }
}

fn question(service: &str, prices: &'static Prices) -> Question<'static> {
    let service = match service {
        "a" => "a",
        "b" => "b",
        _ => "nobody",
    };
    Question { service, rate: 5.0, sla_ms: 60.0, prices, here: Some("cloud") }
}

fn prices() -> &'static Prices {
    static PRICES: std::sync::OnceLock<Prices> = std::sync::OnceLock::new();
    PRICES.get_or_init(Prices::default)
}

fn outlook(learned: &Learned, service: &str, place: &Place) -> Outlook {
    Adviser { learned }.outlook(&question(service, prices()), place)
}

fn near(said: f64, truth: f64, share: f64) {
    assert!((said / truth - 1.0).abs() < share, "{said} is said, {truth} is true");
}

#[test]
fn what_neighbours_cost_is_learned_and_told() {
    let learned = world();

    let said = outlook(&learned, "b", &place("cloud", 2.5));

    let (whole, alone) = (truth(WORK_MS, "cloud", 5.0, 2.5), truth(WORK_MS, "cloud", 5.0, 0.0));
    near(said.latency_ms.value, whole, 0.1);
    near(said.neighbours_ms, whole - alone, 0.15);
    assert_eq!(said.basis, Basis::Measured);
    assert!(said.why.contains("from the neighbours"), "{}", said.why);
    // Queues alone would have missed two fifths of it.
    let queues = outlook(&Learned::default(), "nobody", &place("cloud", 2.5));
    assert_eq!(queues.basis, Basis::Queueing);
    assert!(queues.neighbours_ms / queues.latency_ms.value < 0.75 * said.neighbours_ms / whole);
}

#[test]
fn a_site_that_a_service_never_was_at_is_known_by_the_others() {
    let learned = world();

    let said = outlook(&learned, "b", &place("edge", 1.0));

    assert_eq!(said.basis, Basis::Learned);
    near(said.latency_ms.value, truth(WORK_MS, "edge", 5.0, 1.0), 0.2);
    let slower = said.reasons.iter().find(|reason| reason.name == "site.slower").unwrap();
    near(slower.value, 1.5, 0.2);
}

#[test]
fn four_of_five_latencies_lie_in_the_interval() {
    let (learned, draw) = (world(), &mut Draw(99));
    // Of a place that it never was at less is known: there too much may lie inside.
    for (service, site, work_ms, most) in [("a", "edge", 15.0, 0.92), ("b", "edge", WORK_MS, 1.0)] {
        let new = observed(service, site, work_ms, 300, draw);
        let inside = new.moments.iter().filter(|moment| {
            let asked = Question { rate: moment.rate, ..question(service, prices()) };
            let Prediction { low, high, .. } = Adviser { learned: &learned }
                .outlook(&asked, &place(site, moment.others))
                .latency_ms;
            (low..=high).contains(&moment.latency_ms)
        });
        let share = inside.count() as f64 / 300.0;
        assert!((0.7..=most).contains(&share), "{service} at {site}: {share}");
    }
}

/// With what a reason names at its baseline the prediction changes by what was claimed.
#[test]
fn reasons_are_true() {
    let learned = world();
    let reason = Reason { name: "here.latency".into(), value: 30.0, baseline: 20.0, adds: 9.0 };
    let forecast = Forecast {
        model: "latency/v1".into(),
        said: Prediction { value: 30.0, low: 25.0, high: 50.0 },
        rate: 4.0,
        reasons: vec![reason],
    };
    for (service, forecast) in [("a", None), ("b", None), ("nobody", None), ("a", Some(forecast))] {
        let place = Place { forecast, ..place("edge", 2.0) };
        let (adviser, question) = (Adviser { learned: &learned }, question(service, prices()));
        let said = adviser.outlook(&question, &place);
        let asked = Conditions { rate: 5.0, others: 2.0, usual_site: false };
        let value = adviser.latency_ms(&question, &place, asked);
        assert_eq!(value, said.latency_ms.value);
        assert!(said.reasons.len() >= 2, "{said:?}");
        for reason in &said.reasons {
            let without = match reason.name.as_str() {
                "service.rate" => Conditions { rate: reason.baseline, ..asked },
                "site.others" => Conditions { others: reason.baseline, ..asked },
                "site.slower" => Conditions { usual_site: true, ..asked },
                _ => continue,
            };
            let change = value - adviser.latency_ms(&question, &place, without);
            assert!((change - reason.adds).abs() < 1e-9, "{reason:?} changes {change}");
            if reason.name == "site.others" {
                assert!((said.neighbours_ms - reason.adds).abs() < 1e-9);
            }
        }
    }
}

#[test]
fn a_model_of_the_catalog_speaks_for_where_the_service_is() {
    let learned = world();
    let said = Prediction { value: 48.0, low: 40.0, high: 90.0 };
    let forecast = |rate| Forecast { model: "latency/v2".into(), said, rate, reasons: Vec::new() };
    let at = |rate| Place { forecast: Some(forecast(rate)), ..place("edge", 1.0) };

    let as_now = outlook(&learned, "a", &at(5.0));
    let busier = outlook(&learned, "a", &at(1.0));

    assert_eq!((as_now.basis, as_now.model.as_deref()), (Basis::Model, Some("latency/v2")));
    near(as_now.latency_ms.value, 48.0, 1e-6);
    near(as_now.latency_ms.high, 90.0, 0.1);
    // Asked for more than the model saw, more is expected.
    assert!(busier.latency_ms.value > 49.0, "{busier:?}");
}

#[test]
fn what_was_not_measured_right_teaches_nothing() {
    let draw = &mut Draw(3);
    let mut wild = observed("a", "edge", 15.0, 50, draw);
    let good = Learned::of(&[wild.clone()]);
    let moment = wild.moments[0];
    for (rate, own, others, latency_ms) in [
        (f64::NAN, 1.0, 1.0, 20.0),
        (1.0, f64::INFINITY, 1.0, 20.0),
        (1.0, 1.0, -3.0, 20.0),
        (1.0, 1.0, 1.0, 0.0),
        (0.0, 0.0, 0.0, f64::NAN),
    ] {
        wild.moments.push(Moment { rate, own, others, latency_ms, ..moment });
    }

    let learned = Learned::of(&[wild]);

    assert_eq!(learned, good);
    assert!(learned.is_sound() && Learned::of(&[]).is_sound());
    let bytes = postcard::to_stdvec(&learned).unwrap();
    assert_eq!(postcard::from_bytes::<Learned>(&bytes).unwrap(), learned);
    for rate in [f64::NAN, 1e300, 0.0] {
        let asked = Question { rate, ..question("a", prices()) };
        let said = Adviser { learned: &learned }.outlook(&asked, &place("edge", f64::NAN));
        assert!(said.latency_ms.value.is_finite() && said.cost_hour.total().is_finite());
    }
}

fn candidate(site: &str, latency: f64, broken: f64, room: f64) -> Candidate {
    let mut outlook = outlook(&Learned::default(), "nobody", &place(site, 0.0));
    outlook.latency_ms.value = latency;
    outlook.broken = broken;
    Candidate { outlook, room }
}

#[test]
fn places_are_ranked_alike_in_whatever_order_they_come() {
    let each = [
        candidate("busy", 80.0, 0.4, 0.9),
        candidate("far", 31.0, 0.0, 0.5),
        candidate("full", 20.0, 0.0, 0.1),
        candidate("near", 21.5, 0.01, 0.6),
        candidate("same", 21.5, 0.01, 0.6),
    ];
    let order = |prefer: Prefer, turned: usize| {
        let mut each = each.to_vec();
        each.rotate_left(turned);
        let ranking = rank(each, prefer);
        assert_eq!(ranking.best.as_deref(), Some(ranking.places[0].site.as_str()));
        ranking.places.into_iter().map(|place| place.site).collect::<Vec<_>>()
    };
    for turned in 0..each.len() {
        let behaviour = order(Prefer::Behaviour, turned);
        assert_eq!(behaviour, ["near", "same", "full", "far", "busy"]);
        assert_eq!(order(Prefer::Latency, turned), ["full", "near", "same", "far", "busy"]);
        assert_eq!(order(Prefer::Room, turned)[0], "busy");
    }
    let cheap = [candidate("cloud", 20.0, 0.0, 0.5), candidate("edge", 40.0, 0.0, 0.5)];
    assert_eq!(rank(cheap.to_vec(), Prefer::Cost).best.as_deref(), Some("edge"));
    assert_eq!(rank(Vec::new(), Prefer::Behaviour).best, None);
}

#[test]
fn ten_thousand_places_are_ranked_in_a_moment() {
    let learned = world();
    let started = std::time::Instant::now();
    let one = |at: usize| {
        let outlook =
            outlook(&learned, "b", &place(&format!("site-{at}"), (at % 40) as f64 / 10.0));
        Candidate { outlook, room: 0.5 }
    };

    let ranking = rank((0..10_000).map(one).collect(), Prefer::Behaviour);

    assert_eq!(ranking.best.as_deref(), Some("site-0"));
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}
