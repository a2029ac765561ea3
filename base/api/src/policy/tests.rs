use super::*;
use crate::{Kind, Resource};
use serde_json::json;

fn check(spec: &Value) -> Result<PolicySpec, String> {
    let mut resource = Resource::new(Kind::Policy, "default", "a", spec);
    resource.check().map_err(|error| types::chain(&error))?;
    resource.spec().map_err(|error| error.to_string())
}

#[test]
fn a_service_and_its_level_are_a_policy() {
    let yaml = "
apiVersion: cloudskin.eu/v1alpha1
kind: Policy
metadata: {name: street-counter-qos}
spec:
  service: street-counter
  sla: 120ms
  model: ewma
";
    let mut resource: Resource = serde_saphyr::from_str(yaml).unwrap();

    resource.check().unwrap();

    let spec: PolicySpec = resource.spec().unwrap();
    assert_eq!(spec.every(), Some(Period::from_millis(300_000)));
    assert_eq!((spec.shape, spec.actuators), (Shape::Proactive, vec![Actuator::Migrate]));
}

#[test]
fn each_link_of_the_chain_can_be_written() {
    let spec = check(&json!({
        "service": "a", "sla": "200ms", "shape": "reference", "model": "gbm",
        "limits": {"edgeAbove": "200ms", "cloudBelow": "45ms"},
        "sensors": [{"every": "5m"}, {"cron": "0 7 * * 1-5"}, {"event": "siteLost"},
                    {"when": "mean(here.latency, 30s) > sla"}, {"python": "watch_qos"},
                    {"python": {"name": "watch", "args": [1], "kwargs": {"a": "b"}}}],
        "pipeline": {"load": "latency", "resample": "30s", "gaps": "hold",
                     "horizon": {"from": "5m", "to": "10m"}, "aggregate": {"quantile": 0.95}},
        "figures": {"queue": {"query": "queue{site=\"$site\"}", "aggregate": "avg"}},
        "conditions": {"go": "here.predicted > sla"},
        "guards": {"coolDown": "10m", "quietHours": ["22:00-06:00"]},
        "python": {"file": "agents.py", "timeout": "2s"},
        "actuators": [
            "migrate", {"webhook": {"url": "https://127.0.0.1:9/x"}}, {"python": "act"},
            {"scale": {"min": "250m", "max": 2, "step": "250m", "down": "here.predicted < 0.1"}},
            {"store": {"limit": "memory", "min": "64Mi", "max": "1Gi", "step": "64Mi", "site": "edge"}},
            {"store": {"limit": "highWater", "min": 60, "max": 95, "step": 5, "up": "hour > 8"}},
            {"place": {"sites": {"matchLabels": {"tier": "cloud"}}}},
            {"nbi": {"url": "https://nbi.example.org", "org": "lab", "app": "counter",
                     "blockChart": "counter", "blockChartVersion": "1.0.0",
                     "sites": {"cloud": "site-1"}}},
        ],
    }))
    .unwrap();

    assert_eq!(spec.sensors[2], Sensor::Event(Event::SiteLost));
    assert_eq!(hours(&spec.guards.quiet_hours[0]), Some((1320, 360)));
}

#[test]
fn wrong_values_are_named_with_their_field() {
    let wrong = [
        (json!({"sla": "0s"}), "sla"),
        (json!({"service": "A b"}), "service"),
        (json!({"sensors": []}), "sensors"),
        (json!({"sensors": [{"every": "1ms"}]}), "sensors.every"),
        (json!({"pipeline": {"horizon": {"from": "5m", "to": "5m"}}}), "pipeline.horizon"),
        (json!({"pipeline": {"aggregate": {"quantile": 2}}}), "pipeline.aggregate"),
        (json!({"guards": {"quietHours": ["25:00-06:00"]}}), "guards.quietHours"),
        (json!({"actuators": [{"webhook": {"url": "ftp://x"}}]}), "actuators.webhook.url"),
        (json!({"model": "python/predict"}), "spec.python"),
        (json!({"model": "python/a b", "python": {"file": "a.py"}}), "spec.model"),
        (json!({"python": {"file": "/etc/passwd"}}), "python.file"),
        (json!({"python": {"file": "a.py", "memory": "1Mi"}}), "python.memory"),
        (json!({"sensors": [{"python": "watch"}]}), "spec.python"),
        (json!({"actuators": [{"scale": {"min": 2, "max": 1, "step": 1}}]}), "scale.min"),
        (
            json!({"actuators": [{"store": {"limit": "memory", "min": 0, "max": 2, "step": 1}}]}),
            "store.min",
        ),
        (
            json!({"actuators": [{"store": {"limit": "highWater", "min": 9, "max": 101, "step": 1}}]}),
            "store.max",
        ),
        (
            json!({"actuators": [{"store": {"limit": "disk", "min": 9, "max": 10, "step": 0}}]}),
            "store.step",
        ),
        (
            json!({"actuators": [{"scale": {"tissue": "a", "min": 1, "max": 2, "step": "1m"}}]}),
            "scale.step",
        ),
        (json!({"figures": {"a b": {"query": "x"}}}), "figures"),
        (json!({"conditions": {"go": " "}}), "conditions"),
        (json!({"cooldown": "5m"}), "cooldown"),
    ];
    for (change, field) in wrong {
        let mut spec = json!({"service": "a", "sla": "120ms"});
        spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let error = check(&spec).unwrap_err();
        assert!(error.contains(field), "{field}: {error}");
    }
}

#[test]
fn who_is_followed_is_told_in_degrees_or_in_metres() {
    let with = |trajectory: Value| {
        let pipeline = json!({"trajectory": trajectory});
        check(&json!({"service": "a", "sla": "1s", "pipeline": pipeline}))
    };

    let spec = with(json!({"position": {"x": "bus_x_m", "y": "bus_y_m"}, "ahead": "6s"})).unwrap();
    let trajectory = spec.pipeline.trajectory.unwrap();
    assert_eq!(trajectory.learned_from().selectors(), ("bus_x_m", "bus_y_m"));
    assert_eq!(millis(trajectory.fresh), 15_000);
    let degrees = json!({"latitude": "lat", "longitude": "lon"});
    assert!(with(json!({"position": degrees, "tracks": degrees})).is_ok());
    for (wrong, why) in [
        (json!({"position": {"x": "a", "longitude": "b"}}), "`{x: SELECTOR, y: SELECTOR}`"),
        (json!({"position": {"x": "a", "y": ""}}), "trajectory.position"),
        (json!({"position": degrees, "tracks": {"x": "a", "y": "b"}}), "as `position`"),
        (json!({"position": degrees, "ahead": "10ms"}), "trajectory.ahead"),
        (json!({"position": degrees, "learn": "90d"}), "trajectory.learn"),
    ] {
        let error = with(wrong).unwrap_err();
        assert!(error.contains(why), "{why}: {error}");
    }
    let figures = json!({
        "service": "a", "sla": "1s", "figures": {"next": {"query": "q"}},
        "pipeline": {"trajectory": {"position": degrees}},
    });
    assert!(check(&figures).unwrap_err().contains("`distance` and `next`"));
    let sensor = |name: &str, pipeline: Value| {
        check(&json!({
            "service": "a", "sla": "1s", "python": {"file": "agents.py"}, "pipeline": pipeline,
            "sensors": [{"every": "5s"}, {"python": name}],
        }))
    };
    for name in ["next", "distance"] {
        let error = sensor(name, json!({"trajectory": {"position": degrees}})).unwrap_err();
        assert!(error.contains("sensors.python`") && error.contains("beside a"), "{error}");
        sensor(name, json!({})).unwrap();
    }
    sensor("queue", json!({"trajectory": {"position": degrees}})).unwrap();
}
