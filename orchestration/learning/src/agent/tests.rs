use super::*;
use crate::{Sample, policy::Place};
use proptest::prelude::*;

pub(super) fn spec(yaml: &str) -> PolicySpec {
    let spec: PolicySpec = serde_saphyr::from_str(yaml).unwrap();
    spec.check().unwrap();
    spec
}

fn agent(yaml: &str) -> Agent {
    let agent = Agent::new(&spec(yaml), &NoModels, &[30]).unwrap();
    assert_eq!(agent.without_model(), None);
    agent
}

fn samples(latencies: &[f64]) -> Vec<Sample> {
    let sample = |&ms: &f64| Sample { latency_ms: (ms > 0.0).then_some(ms), ..Sample::default() };
    latencies.iter().map(sample).collect()
}

/// What an agent says at the edge, with a cloud beside it, a minute between samples.
fn advise(agent: &Agent, edge: &[f64], cloud: &[f64], moved: &[u64]) -> Advice {
    let (edge, cloud) = (samples(edge), samples(cloud));
    let place = |name, past, edge| Place { name, past, edge, move_s: 30 };
    let moment = Moment {
        now_s: 43_200,
        step_s: 60,
        here: place("edge", &edge[..], true),
        others: &[place("cloud", &cloud[..], false)],
        moved_s_ago: moved,
    };
    let trail = two_places(&moment);
    agent.advise(&Situation { moment: &moment, trail: trail.as_deref(), figures: &Figures::new() })
}

const BUSY: [f64; 6] = [60.0, 250.0, 260.0, 240.0, 250.0, 255.0];
const CALM: [f64; 6] = [60.0; 6];

#[test]
fn the_proactive_shape_goes_where_less_is_forecast_to_break() {
    let agent = agent("{service: a, sla: 120ms}");

    let busy = advise(&agent, &BUSY, &CALM, &[]);
    assert_eq!(busy.verdict, Verdict { alarm: true, go: Some(0) });
    assert!(busy.reason.contains("100 % here and 0 % at `cloud`"), "{}", busy.reason);
    let both = advise(&agent, &BUSY, &BUSY, &[]);
    assert_eq!(both.verdict, Verdict { alarm: true, go: None }, "no move would help");
    assert_eq!(advise(&agent, &CALM, &BUSY, &[]).verdict, Verdict { alarm: false, go: None });
}

#[test]
fn the_shape_of_the_reference_leaves_the_edge_above_and_the_cloud_below() {
    let text = "{service: a, sla: 200ms, shape: reference, model: max, limits: {edgeAbove: 200ms, cloudBelow: 45ms}}";
    let agent = agent(text);

    assert_eq!(advise(&agent, &BUSY, &CALM, &[]).verdict.go, Some(0));
    assert_eq!(advise(&agent, &CALM, &BUSY, &[]).verdict.go, None);
    // It looks at one site only.
    assert_eq!(advise(&agent, &BUSY, &BUSY, &[]).verdict.go, Some(0));
}

#[test]
fn actuators_with_conditions_of_their_own_follow_them() {
    let text = "{service: a, sla: 120ms, actuators: [migrate, {scale: {min: 1, max: 2, step: 1, \
                down: here.predicted < 0.1}}, {place: {when: there.predicted > 0.5, sites: {}}}]}";
    let agent = agent(text);
    let wants = |edge: &[f64], cloud: &[f64]| {
        let wants = advise(&agent, edge, cloud, &[]).wants.into_iter();
        wants.map(|want| (want.actuator, want.turn)).collect::<Vec<_>>()
    };

    assert_eq!(wants(&BUSY, &CALM), [(1, Turn::Up)], "the alarm, where nothing else is said");
    assert_eq!(wants(&CALM, &CALM), [(1, Turn::Down)]);
    assert_eq!(wants(&BUSY, &BUSY), [(1, Turn::Up), (2, Turn::Up)]);
    let wrong = spec(&text.replace("here.predicted < 0.1", "here.speed < 1"));
    assert!(Agent::check(&wrong).unwrap_err().to_string().contains("here.speed"));
}

#[test]
fn guards_hold_it_back_and_say_so() {
    let cool = advise(&agent("{service: a, sla: 120ms}"), &BUSY, &CALM, &[60]);
    assert_eq!(cool.verdict, Verdict { alarm: true, go: None });
    assert!(cool.held.unwrap().contains("moved 60 s ago"));

    let text = "{service: a, sla: 120ms, pipeline: {window: 1m}, sensors: [every: 1m], guards: {inARow: 3}}";
    let patient = agent(text);
    let short = advise(&patient, &[60.0, 60.0, 60.0, 60.0, 250.0], &CALM, &[]);
    assert_eq!(short.verdict.go, None);
    assert!(short.reason.contains("must hold in 3 runs"), "{}", short.reason);
    assert_eq!(advise(&patient, &BUSY, &CALM, &[]).verdict.go, Some(0));
}

#[test]
fn what_is_wrong_leads_to_the_reactive_rule_and_is_said() {
    let missing =
        Agent::new(&spec("{service: a, sla: 120ms, model: lstm-7}"), &NoModels, &[30]).unwrap();
    let zero = agent(
        "{service: a, sla: 120ms, conditions: {go: \"1 / (here.predicted - here.predicted) > 1\"}}",
    );
    let text =
        "{service: a, sla: 120ms, figures: {queue: {query: q}}, conditions: {go: here.queue > 5}}";
    let unknown = agent(text);

    for (agent, why) in [
        (missing, "no model `lstm-7`"),
        (zero, "divides by zero"),
        (unknown, "`here.queue` is not known"),
    ] {
        let busy = advise(&agent, &BUSY, &CALM, &[]);
        assert_eq!(busy.verdict, Verdict { alarm: true, go: Some(0) }, "{why}");
        assert!(busy.fallback.unwrap().contains(why), "{why}");
        assert_eq!(advise(&agent, &CALM, &CALM, &[]).verdict.go, None, "{why}");
        // The guards hold the reactive rule, too.
        assert_eq!(advise(&agent, &BUSY, &CALM, &[60]).verdict.go, None, "{why}");
    }
    // Of a place where nothing was measured lately nothing is forecast.
    let compare = agent("{service: a, sla: 120ms}");
    let blind = advise(&compare, &BUSY, &[60.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], &[]);
    assert!(blind.fallback.unwrap().contains("nothing was measured at `cloud` for 300 s"));
    let back = "there.age > 5m || there.predicted < here.predicted";
    let curious = agent(&format!("{{service: a, sla: 120ms, conditions: {{go: {back}}}}}"));
    let tried = advise(&curious, &CALM, &[60.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], &[]);
    assert_eq!((tried.verdict.go, tried.fallback), (Some(0), None));
    // A service that stands still is left; one of which nothing is known is not.
    let agent = agent("{service: a, sla: 120ms, shape: reactive}");
    assert_eq!(advise(&agent, &[60.0, 0.0, 0.0, 0.0, 0.0, 0.0], &CALM, &[]).verdict.go, Some(0));
    let silent = advise(&agent, &[0.0; 6], &CALM, &[]);
    assert_eq!(silent.verdict.go, None);
    assert!(silent.fallback.unwrap().contains("nothing was measured"));
}

#[test]
fn a_policy_is_refused_before_it_is_stored_if_it_cannot_be_right() {
    for (text, why) in [
        ("{service: a, sla: 1s, conditions: {go: here.queue > 5}}", "`here.queue` is not known"),
        ("{service: a, sla: 1s, conditions: {go: sla / 0 > sla}}", "divides by zero"),
        ("{service: a, sla: 1s, conditions: {go: here.predicted > sla}}", "a number and a time"),
        ("{service: a, sla: 1s, conditions: {prefer: here.site}}", "it is a text"),
        ("{service: a, sla: 1s, sensors: [cron: \"99 * * * *\"]}", "is no minute"),
        ("{service: a, sla: 1s, sensors: [when: \"here.latency\"]}", "over which time"),
        ("{service: a, sla: 1s, guards: {movesPerDay: 1}}", "at least 2"),
        ("{service: a, sla: 1s, prices: {cloudHour: -1}}", "from 0 to a billion"),
        ("{service: a, sla: 1s, prices: {cloud: 1}}", "unknown field `cloud`"),
    ] {
        let error = Agent::check(&spec(text)).unwrap_err().to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
}

#[test]
fn sensors_on_telemetry_and_tests_in_the_file() {
    let agent = agent(
        "
service: a
sla: 120ms
sensors: [every: 5m, when: \"max(here.latency, 1m) > 2 * sla\"]
tests:
- name: leaves a busy edge
  at: edge
  places: {edge: {edge: true, latency: [250, 260, null, 250, 250]}, cloud: {latency: [60, 60, 60, 60, 60]}}
  expect: {go: cloud, alarm: true}
- name: expects too much
  at: edge
  places: {edge: {edge: true, latency: [60]}, cloud: {latency: [60]}}
  expect: {go: cloud}
",
    );
    let results: Vec<_> =
        agent.spec().tests.iter().map(|case| run_case(&agent, case, |_| Figures::new())).collect();
    assert!(results[0].passed, "{results:?}");
    assert!(!results[1].passed && results[1].said.starts_with("stay"), "{results:?}");

    let (hot, cold) = (samples(&BUSY), samples(&CALM));
    for (past, on) in [(&hot, true), (&cold, false)] {
        let here = Place { name: "edge", past, edge: true, move_s: 5 };
        let moment = Moment { now_s: 0, step_s: 60, here, others: &[], moved_s_ago: &[] };
        let situation = Situation { moment: &moment, trail: None, figures: &Figures::new() };
        assert_eq!(agent.triggered(&situation).is_some(), on);
    }
}

/// Plays an agent over two sites; answers when it moved, and where it was at each sample.
fn play(agent: &Agent, sites: [&[Sample]; 2], step_s: u32, every: usize) -> Played {
    let names = ["a", "b"];
    let place = |site: usize, at: usize| Place {
        name: names[site],
        past: &sites[site][..=at],
        edge: site == 0,
        move_s: 30,
    };
    let mut played = Played { moves: Vec::new(), at: Vec::new() };
    let (mut here, mut arrives) = (0, 0);
    for at in 0..sites[0].len() {
        let now_s = at as i64 * i64::from(step_s);
        if at % every == 0 {
            let ago: Vec<u64> = played
                .moves
                .iter()
                .rev()
                .map(|moved| ((at - moved) as u64) * u64::from(step_s))
                .collect();
            let moment = Moment {
                now_s,
                step_s,
                here: place(here, at),
                others: &[place(1 - here, at)],
                moved_s_ago: &ago,
            };
            let verdict = agent.decide(&moment);
            if verdict.go.is_some() {
                played.moves.push(at);
                arrives = at + (30 / step_s).max(1) as usize;
                here = 1 - here;
            }
        }
        let site = if at < arrives { 1 - here } else { here };
        played.at.push(site);
    }
    played
}

struct Played {
    moves: Vec<usize>,
    at: Vec<usize>,
}

fn adversarial() -> impl Strategy<Value = Vec<(Option<f64>, Option<f64>)>> {
    let value = || {
        prop_oneof![
            6 => (1.0..400.0_f64).prop_map(Some),
            1 => Just(None),
            1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(-5.0), Just(1e300)].prop_map(Some),
        ]
    };
    proptest::collection::vec((value(), value()), 20..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever is measured, and whatever the condition: no more moves than cool-down and budget
    /// allow, and in no window is the level broken for longer than the regret allows compared with
    /// staying where it was as the window began.
    #[test]
    fn moves_and_regret_are_bounded_whatever_is_measured(
        values in adversarial(),
        hold in 1..30_usize,
        shape in 0..4_usize,
        moves_per_day in 2..20_u32,
        regret_s in 60..1800_u64,
    ) {
        let step_s = 30;
        let conditions = [
            "{service: a, sla: 120ms}",
            "{service: a, sla: 120ms, shape: reactive}",
            // As restless as can be.
            "{service: a, sla: 120ms, conditions: {go: \"true\"}}",
            // Always to where it is worse.
            "{service: a, sla: 120ms, conditions: {go: there.predicted > here.predicted}}",
        ];
        let mut spec = spec(conditions[shape]);
        spec.guards.moves_per_day = moves_per_day;
        spec.guards.cool_down = types::Period::from_millis(600_000);
        spec.guards.regret = types::Period::from_millis(regret_s * 1000);
        spec.guards.regret_window = types::Period::from_millis(3 * 3_600_000);
        let agent = Agent::new(&spec, &NoModels, &[30]).unwrap();
        // Ten hours.
        let site = |site: usize| -> Vec<Sample> {
            let each = (0..1200).map(|at| {
                let pair = values[(at / hold + site * 7) % values.len()];
                Sample {
                    latency_ms: if site == 0 { pair.0 } else { pair.1 },
                    ..Sample::default()
                }
            });
            each.collect()
        };
        let (a, b) = (site(0), site(1));

        let played = play(&agent, [&a, &b], step_s, 10);

        for pair in played.moves.windows(2) {
            prop_assert!((pair[1] - pair[0]) as u64 * 30 >= 600, "{:?}", played.moves);
        }
        prop_assert!(played.moves.len() <= moves_per_day as usize, "{:?}", played.moves);
        let broken = |site: usize, at: usize| f64::from(u8::from([&a, &b][site][at].breaks(120.0)));
        for window in played.at.chunks(360).enumerate() {
            let (first, sites) = (window.0 * 360, window.1);
            let home = sites[0];
            let regret: f64 = sites
                .iter()
                .enumerate()
                .map(|(at, &site)| (broken(site, first + at) - broken(home, first + at)) * 30.0)
                .sum();
            // It sees it at a run, may have to wait for the cool-down, and takes a while to move.
            let late_s = 300 + 600 + 60;
            prop_assert!(regret <= (regret_s + late_s) as f64, "{regret} {:?}", played.moves);
        }
    }
}
