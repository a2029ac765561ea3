use super::*;
use proptest::prelude::*;

fn types(name: &str) -> Option<Type> {
    Some(match name {
        "sla" | "here.predicted" | "there.predicted" => Type::Time,
        "here.latency" => Type::Times,
        "here.queue" => Type::Number,
        "here.edge" => Type::Truth,
        "here.site" => Type::Text,
        _ => return None,
    })
}

struct Given;

impl Scope for Given {
    fn get(&self, name: &str, _: f64) -> Option<Value> {
        Some(match name {
            "sla" => Value::Number(120.0),
            "here.predicted" => Value::Number(200.0),
            "here.latency" => {
                Value::Samples(vec![Some(900.0), Some(100.0), None, Some(200.0)], 10_000)
            }
            "here.queue" => Value::Number(0.0),
            "here.edge" => Value::Truth(true),
            "here.site" => Value::Text("edge".into()),
            _ => return None,
        })
    }
}

fn truth(text: &str) -> Result<bool> {
    Expression::new(text, Type::Truth, &types)?.holds(&Given)
}

#[test]
fn arithmetic_binds_as_usual_and_units_are_kept() {
    for text in [
        "1 + 2 * 3 == 7 && !(1 > 2)",
        "here.predicted > sla && here.edge",
        "here.predicted / sla > 1.6 && here.predicted - 80ms == sla",
        "2 * sla == 0.24s && -1 < 0 || false",
        "here.site == \"edge\" && here.site != \"cloud\"",
        "mean(here.latency, 30s) == 150ms && max(here.latency, 1m) == 900ms",
        "quantile(here.latency, 0.5, 30s) == 150ms && max(sla, 1s) == 1s",
        "min(here.latency, 10s) == 200ms && abs(1 - 3) == 2",
        // What was not answered was above any level.
        "share_above(here.latency, 150ms, 20s) == 1",
    ] {
        assert!(truth(text).unwrap(), "{text}");
    }
    assert!(!truth("here.predicted < sla").unwrap());
}

#[test]
fn mistakes_are_found_before_anything_is_measured() {
    for (text, reason) in [
        ("here.speed > 1", "`here.speed` is not known"),
        ("sla > 5", "a time and a number do not go together"),
        ("sla", "it is a time; what is asked for is true or false"),
        ("here.latency > sla", "say over which time"),
        ("here.edge && 1", "do not go together"),
        ("1 / 0 > 1", "divides by zero"),
        ("sla / (2 - 2) > sla", "divides by zero"),
        ("1 < 2 < 3", "`< 3` is not understood"),
        ("(1 < 2", "ends where a `)`"),
        ("sum(here.latency, 5m) > sla", "is no function"),
        ("mean(sla, 5m) > sla", "does not take (a time; a time)"),
        ("quantile(here.latency, 2, 5m) > sla", "from 0 to 1"),
        ("5x > 1", "`x` is no unit"),
        ("\"edge", "no closing"),
        ("", "ends where a value"),
    ] {
        let error = Expression::new(text, Type::Truth, &types).unwrap_err().to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
    let deep = "(".repeat(4000);
    assert!(Expression::new(&deep, Type::Truth, &types).unwrap_err().to_string().contains("64"));
    let long = format!("{} > 1", "1+".repeat(2000) + "1");
    assert!(Expression::new(&long, Type::Truth, &types).unwrap_err().to_string().contains("256"));
}

#[test]
fn what_is_not_known_and_a_division_by_zero_are_errors_of_the_run() {
    for (text, reason) in [
        ("there.predicted < sla", "`there.predicted` is not known now"),
        ("1 / here.queue > 1", "divides by zero"),
    ] {
        let error = truth(text).unwrap_err().to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
    // What decides already leaves the rest alone.
    assert!(!truth("here.queue > 0 && 1 / here.queue > 1").unwrap());
}

proptest! {
    /// Whatever is written: an expression or a reason, and never a panic.
    #[test]
    fn any_text_is_read_or_refused(text in "[a-z0-9.<>=!&|()*/+ ,\"-]{0,60}") {
        if let Ok(expression) = Expression::new(&text, Type::Truth, &types) {
            let _ = expression.holds(&Given);
        }
    }
}
