use super::*;
use crate::{
    Trace,
    features::mean,
    policy::{Moment, Policy, Stay, Verdict},
};

/// 22 hours that the twin itself made, as a trace.
fn trace() -> Trace {
    generate(&Parameters::default(), 22 * 720, 77)
}

#[test]
fn a_twin_of_a_trace_is_like_it() {
    let trace = trace();

    let found = calibrate(&trace).unwrap();

    let likeness = likeness(&trace, &found, 8);
    let met = likeness.iter().filter(|each| each.met).count();
    assert!(met + 2 >= likeness.len(), "{likeness:#?}");
    assert!((found.coupling - Parameters::default().coupling).abs() < 0.3, "{}", found.coupling);
}

#[test]
fn parameters_come_back_from_their_file_and_wrong_ones_are_refused_with_a_reason() {
    let parameters = Parameters::default();
    let file = tempfile::NamedTempFile::new().unwrap();
    let read = |text: &str| {
        std::fs::write(file.path(), text).unwrap();
        Parameters::read(file.path()).map_err(|error| error.to_string())
    };

    assert_eq!(read(&parameters.yaml().unwrap()).unwrap(), parameters);

    let mut wrong = parameters.clone();
    wrong.sites[0].capacity = f64::NAN;
    assert!(read(&wrong.yaml().unwrap()).unwrap_err().contains("capacity"));
    let mut wrong = parameters.clone();
    wrong.sites[1].service_ms.reverse();
    assert!(read(&wrong.yaml().unwrap()).unwrap_err().contains("serviceMs"));
    let wrong = Parameters { sites: Vec::new(), ..parameters };
    assert!(read(&wrong.yaml().unwrap()).unwrap_err().contains("sites"));
    assert!(read("step: 5").is_err());
}

#[test]
fn what_cannot_be_calibrated_is_refused_with_a_reason() {
    let mut trace = trace();
    for sample in &mut trace.sites[0].samples {
        sample.cpu = None;
    }
    assert!(calibrate(&trace).unwrap_err().to_string().contains("no column `cpu`"));
    for site in &mut trace.sites {
        site.samples.truncate(100);
    }
    assert!(calibrate(&trace).unwrap_err().to_string().contains("at least 2000"));
}

#[test]
fn a_world_is_the_same_for_the_same_seed_and_has_crowds_and_distances() {
    let (scenario, parameters) = (Scenario::default(), Parameters::default());

    let world = World::new(&scenario, &parameters, 3).unwrap();

    assert_eq!(world, World::new(&scenario, &parameters, 3).unwrap());
    assert_ne!(world, World::new(&scenario, &parameters, 4).unwrap());
    let latency = |scenario: &Scenario, site: usize| {
        let world = World::new(scenario, &parameters, 3).unwrap();
        mean(world.trace.sites[site].samples.iter().filter_map(|sample| sample.latency_ms))
    };
    let far = Scenario { cloud_ms: 130.0, ..scenario.clone() };
    let apart = latency(&far, world.cloud()) - latency(&scenario, world.cloud());
    assert!((apart - 100.0).abs() < 1e-6, "{apart}");
    let empty = Waves { per_day: 0.0, ..scenario.crowds };
    let alone = Scenario { crowds: empty, ..scenario.clone() };
    assert!((0..3).all(|edge| latency(&alone, edge) < latency(&scenario, edge) - 3.0));
    let cpu = |at: usize| world.trace.sites[0].samples[at].cpu.unwrap();
    assert!((0..world.trace.len()).all(|at| cpu(at) <= 21.0));
    for edge in 0..3 {
        assert!(world.nearest.contains(&edge));
    }
}

#[test]
fn days_that_cannot_be_are_refused_with_a_reason() {
    let scenario = Scenario::default;
    let says = |scenario: Scenario| scenario.check().unwrap_err().to_string();
    assert!(says(Scenario { hours: 0, ..scenario() }).contains("hours"));
    assert!(says(Scenario { edges: 0, ..scenario() }).contains("edges"));
    assert!(says(Scenario { km_ms: f64::NAN, ..scenario() }).contains("from 0 to 10000"));
    assert!(says(Scenario { users_km_h: (40.0, 10.0), ..scenario() }).contains("the lesser first"));
    let service = Service { speed: 0.0, ..Service::default() };
    assert!(says(Scenario { service, ..scenario() }).contains("above 0"));
    assert_eq!((Service::default().move_s(true), Service::default().move_s(false)), (30, 177));
}

/// As a user would write one: to any other place at every tick.
#[derive(Debug)]
struct Restless;

impl Policy for Restless {
    fn decide(&self, moment: &Moment) -> Verdict {
        assert!(moment.others.iter().all(|place| place.past.len() == moment.here.past.len()));
        let every_s = u64::from(Rules::default().every_s);
        assert!(moment.moved_s_ago.iter().all(|ago| *ago >= every_s));
        Verdict { alarm: true, go: Some(moment.others.len() - 1) }
    }
}

#[test]
fn any_policy_plays_and_nobody_betters_the_oracle() {
    let (scenario, rules) = (Scenario::default(), Rules::default());
    for seed in 1..=3 {
        let world = World::new(&scenario, &Parameters::default(), seed).unwrap();
        let game = Game { world: &world, scenario: &scenario, rules: &rules };
        let oracle = game.oracle();
        let policies: [&dyn Policy; 5] =
            [&Restless, &Stay, &EdgeOnly, &CloudOnly, &reactive_rule(&rules)];
        for policy in policies {
            let outcome = game.play(policy, false);
            assert!(outcome.sla_broken_s >= oracle.sla_broken_s, "{policy:?} {outcome:?}");
            assert_eq!(outcome.seconds, oracle.seconds);
        }
        assert_eq!((oracle.fp, oracle.fn_), (0, 0));
    }
}

/// By hand: in the cloud all the time, and on the way to it from the edge.
#[test]
fn time_and_bytes_in_the_cloud_are_counted_once() {
    let (scenario, rules) = (Scenario::default(), Rules::default());
    let world = World::new(&scenario, &Parameters::default(), 1).unwrap();
    let game = Game { world: &world, scenario: &scenario, rules: &rules };

    let (stays, goes) = (game.play(&CloudOnly, true), game.play(&CloudOnly, false));

    assert_eq!((stays.seconds, stays.cloud_s, stays.migrations), (82_800.0, 82_800.0, 0));
    assert_eq!(stays.bytes_to_cloud, 82_800.0 * 250_000.0);
    // While it moves the old instance serves, and the new one is paid as well.
    assert_eq!((goes.cloud_s, goes.migrations), (82_800.0, 1));
    assert_eq!(goes.bytes_to_cloud, (82_800.0 - 180.0) * 250_000.0 + 125e6);
    let cloud = 82_800.0 * rules.prices.second(true);
    assert!((stays.cost.infrastructure - cloud).abs() < 1e-9);
    assert!((goes.cost.migration - 180.0 * rules.prices.second(true)).abs() < 1e-9);
}

#[test]
fn the_proactive_policy_breaks_the_level_less_than_the_reactive_ones_in_days_it_has_not_seen() {
    let contest = Contest { seeds: 6, lessons: 6, trials: 3, rounds: 200, ..Contest::default() };

    let results = contest.run(&[Contender::Proactive, Contender::Oracle], &mut |_| ()).unwrap();

    let of = |name: &str| {
        results.standings.iter().find(|row| row.policy == name).expect("it was asked for")
    };
    let (ours, reactive, tuned) = (of("proactive"), of("reactive"), of("tuned-reactive"));
    assert!(ours.broken_by_reactive.value <= 0.85, "{ours:#?}");
    assert!(ours.f1.value > reactive.f1.value.max(tuned.f1.value), "{ours:#?} {tuned:#?}");
    assert!(ours.cost_by_reactive.value <= 1.1, "{ours:#?}");
    assert!(ours.cloud_by_cloud.value <= 0.5 && ours.bytes_by_cloud.value <= 0.5, "{ours:#?}");
    assert!(of("oracle").sla_broken_s.value < ours.sla_broken_s.value);
    assert_eq!(of("cloud-only").cloud_by_cloud.value, 1.0);
}

#[test]
fn a_fleet_is_the_same_for_the_same_seed_and_its_services_are_load_for_each_other() {
    let scenario = Scenario { hours: 3, ..Scenario::default() };
    let (parameters, rules) = (Parameters::default(), Rules::default());
    let run = |services: u32, seed: u64| {
        let (scenario, parameters, rules) = (&scenario, &parameters, &rules);
        let fleet = Fleet { scenario, parameters, rules, sites: 120, services, seed };
        fleet.run(&EdgeOnly, &mut |_, _| ()).unwrap()
    };

    let few = run(60, 1);

    assert_eq!(few, run(60, 1));
    assert_ne!(few.digest, run(60, 2).digest);
    // Two hours are judged; the first is only seen.
    assert_eq!(few.outcome.seconds, 60.0 * 7200.0);
    let many = run(1200, 1);
    assert!(many.broken_share > 1.5 * few.broken_share, "{many:?} {few:?}");
    let says = |sites: u32, every_s: u32| {
        let (scenario, parameters, rules) = (&scenario, &parameters, &Rules { every_s, ..rules });
        let fleet = Fleet { scenario, parameters, rules, sites, services: 1, seed: 1 };
        fleet.run(&EdgeOnly, &mut |_, _| ()).unwrap_err().to_string()
    };
    assert!(says(2, 300).contains("from 3"));
    assert!(says(3, 7200).contains("at most an hour apart"));
}
