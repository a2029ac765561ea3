//! What holds for models of every kind.

use super::*;
use crate::{Past, Predictor, Sample, Trace};
use std::ops::ControlFlow;

fn watch(_: Doing) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn question(target: Target) -> Question {
    Question::new(target, (0, 300))
}

/// Trained on the first part of the trace.
fn trained(trace: &Trace, kind: &str, target: Target) -> Trained {
    let method = Method::named(kind).unwrap();
    let (learn, _) = trace.split(0.7);
    train(&Examples::new(&learn, &question(target)).unwrap(), method, 7, &watch).unwrap()
}

fn score(trace: &Trace, model: &Trained) -> Score {
    let (_, test) = trace.split(0.7);
    model.tried(&Examples::new(&test, &question(model.target)).unwrap()).unwrap()
}

fn past<'a>(trace: &'a Trace, at: usize) -> Past<'a> {
    let of = |site: usize| &trace.sites[site].samples[..=at];
    Past { now_s: 0, step_s: trace.step_s, here: of(0), there: of(1) }
}

#[test]
fn every_kind_is_trained_the_same_by_its_seed_and_comes_back_from_bytes() {
    let trace = testing::trace(1200, 3);
    for kind in Method::NAMES {
        let model = trained(&trace, kind, Target::Latency);

        assert_eq!(model, trained(&trace, kind, Target::Latency), "{kind}");
        assert!(model.is_sound(), "{kind}");
        let bytes = postcard::to_stdvec(&model).unwrap();
        let back: Trained = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(back, model, "{kind}");
        let said = model.predict(&past(&trace, 1100)).unwrap();
        assert_eq!(back.predict(&past(&trace, 1100)).unwrap(), said, "{kind}");
        assert!(said[0].low <= said[0].value && said[0].value <= said[0].high, "{kind} {said:?}");
    }
}

/// The waves and bursts of the trace can be learned: every kind that learns is better than the mean,
/// and its intervals hold.
#[test]
fn kinds_that_learn_explain_what_comes_and_intervals_hold_as_often_as_they_say() {
    let trace = testing::trace(4000, 5);
    for (kind, least) in
        [("ridge", 0.5), ("polynomial", 0.5), ("forest", 0.5), ("gbm", 0.5), ("lstm", 0.3)]
    {
        let score = score(&trace, &trained(&trace, kind, Target::Latency));

        assert!(score.r2.unwrap() > least, "{kind}: {score:?}");
        assert!((0.7..0.9).contains(&score.coverage80.unwrap()), "{kind}: {score:?}");
        assert!(score.auc.unwrap() > 0.8, "{kind}: {score:?}");
    }
}

/// An explanation is true: with the named figure at its baseline, the prediction changes by what was
/// claimed. Of kinds that see a whole series, all of it is put at the baseline.
#[test]
fn the_baseline_takes_away_what_was_claimed() {
    let trace = testing::trace(1200, 3);
    for kind in Method::NAMES {
        let model = trained(&trace, kind, Target::Latency);
        for at in [700, 955, 1100] {
            let past = past(&trace, at);
            let (said, reasons) =
                (model.predict(&past).unwrap()[0].value, model.explain(&past).unwrap());

            let top = reasons.first().unwrap_or_else(|| panic!("{kind} explains nothing"));
            let without = with_baseline(&model, &past, top);
            assert!((said - without - top.adds).abs() < 1e-9, "{kind}: {top:?} {said} {without}");
        }
        let moved = model.explain(&past(&trace, 1100)).unwrap();
        assert!(moved[0].adds != 0.0, "{kind}: {moved:?}");
    }
}

/// The prediction with a figure's, or a series', baseline in its place.
fn with_baseline(model: &Trained, past: &Past, reason: &crate::Reason) -> f64 {
    if let Some(fitted) = model.fitted() {
        let place = model.names().iter().position(|name| *name == reason.name).unwrap();
        let mut row = model.figures(past).unwrap();
        row[place] = reason.baseline;
        return fitted.predict(&row);
    }
    let flat = |samples: &[Sample], place: &str| -> Vec<Sample> {
        let changed = |sample: &Sample| match reason.name.strip_prefix(place) {
            Some(".latency") => Sample { latency_ms: Some(reason.baseline), ..*sample },
            Some(".cpu") => Sample { cpu: Some(reason.baseline), ..*sample },
            _ => *sample,
        };
        samples.iter().map(changed).collect()
    };
    let (here, there) = (flat(past.here, "here"), flat(past.there, "there"));
    model.predict(&Past { here: &here, there: &there, ..*past }).unwrap()[0].value
}

#[test]
fn whatever_was_measured_the_answer_is_a_number_or_an_error() {
    let trace = testing::trace(1200, 3);
    let strange = |latency_ms, cpu| vec![Sample { latency_ms, cpu, ..Sample::default() }; 400];
    let pasts = [
        strange(None, None),
        strange(Some(0.0), Some(0.0)),
        strange(Some(f64::NAN), Some(f64::INFINITY)),
        strange(Some(1e300), Some(-1e300)),
    ];
    for kind in Method::NAMES {
        for target in [Target::LatencyMax, Target::Cpu, Target::Broken(100.0)] {
            let model = trained(&trace, kind, target);
            for here in &pasts {
                let past = Past { now_s: 0, step_s: 10, here, there: &[] };
                let said = model.predict(&past).unwrap()[0];
                assert!(said.value.is_finite(), "{kind} {target}: {said:?}");
                model.explain(&past).unwrap();
            }
            let past = Past { now_s: 0, step_s: 5, here: &pasts[0], there: &[] };
            assert!(model.predict(&past).unwrap_err().to_string().contains("10 s apart"));
            assert!(model.predict(&Past { step_s: 10, here: &[], ..past }).is_err());
        }
    }
}

#[test]
fn a_search_finds_better_settings_and_can_be_ended() {
    let trace = testing::trace(1500, 9);
    let examples = Examples::new(&trace.whole(), &question(Target::Latency)).unwrap();
    let usual = Method::Ridge { penalty: 1e6 };

    let found = search(&examples, usual, 8, 1, &watch).unwrap();

    assert_eq!(found.tried, 8);
    assert!(found.least < 0.9 * found.usual && found.method != usual, "{found:?}");
    assert_eq!(found, search(&examples, usual, 8, 1, &watch).unwrap());
    let third = |doing: Doing| match doing {
        Doing::Search { candidate: 3, .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    assert_eq!(search(&examples, usual, 8, 1, &third).unwrap().tried, 2);
}

#[test]
fn an_interval_learns_from_what_came() {
    let trace = testing::trace(1200, 3);
    let mut model = trained(&trace, "ridge", Target::Latency);
    let past = past(&trace, 1100);
    let before = model.predict(&past).unwrap()[0];

    for _ in 0..300 {
        let said = model.predict(&past).unwrap()[0];
        model.update(&past, &said, said.value + 50.0);
    }

    let after = model.predict(&past).unwrap()[0];
    assert_eq!(after.value, before.value);
    assert!((after.high - after.value - 50.0).abs() < 1.0, "{before:?} {after:?}");
}

#[test]
fn what_cannot_be_asked_is_refused_with_a_reason() {
    let trace = testing::trace(300, 3);
    let says =
        |question: Question| Examples::new(&trace.whole(), &question).unwrap_err().to_string();
    let plain = question(Target::Latency);

    assert!(
        says(Question { ahead: (600, 600), ..plain.clone() }).contains("nothing can be predicted")
    );
    assert!(says(Question { ahead: (0, 90_000), ..plain.clone() }).contains("a day is the most"));
    assert!(says(Question { every_s: 0, ..plain.clone() }).contains("0 s apart"));
    assert!(says(Question { ahead: (0, 2700), ..plain }).contains("too few"));
}

#[test]
fn a_part_too_short_for_intervals_is_refused() {
    let trace = testing::trace(1200, 3);
    let asked = |every_s: u32, ahead_s: u32| {
        let question = Question { every_s, ..Question::new(Target::Latency, (0, ahead_s)) };
        // One site alone: a moment is one.
        let one = Trace { sites: trace.sites[..1].to_vec(), ..trace.clone() };
        let examples = Examples::new(&one.whole(), &question).unwrap();
        train(&examples, Method::Naive, 1, &|_| ControlFlow::Continue(())).map(drop)
    };

    // Fifty moments and some, each of which looks ahead over half of them.
    let error = asked(90, 5400).unwrap_err().to_string();

    assert!(error.contains("too few to tell how far predictions will be off"), "{error}");
    asked(60, 300).unwrap();
}
