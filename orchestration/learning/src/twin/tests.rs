use super::*;
use crate::{Trace, features::mean};

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
    let mut read = |text: &str| {
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
