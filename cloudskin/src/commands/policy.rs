//! `cloudskin policy`: declared policies, tried before they drive anything.

use super::{
    apply,
    model::CatalogArgs,
    replay::{read, share, table},
};
use crate::{
    exit::Failure,
    output::{self, FormatArgs, Style},
    session::Session,
    table::Table,
};
use anyhow::Context;
use api::{
    Kind,
    policy::{Case, PolicySpec},
};
use clap::{Args, Subcommand};
use learning::{
    Predictor, Stretch,
    agent::{self, Agent, Figures, Models, Tested, Wanted},
    catalog::Catalog,
    model,
    replay::{Comparison, Setup},
};
use orchestrator::{control::CatalogModels, python};
use serde::Serialize;
use std::{path::PathBuf, process::ExitCode, sync::Arc};
use types::ErrorKind;

/// Try declared policies before they drive anything
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  cloudskin policy test -f qos-policy.yaml
  cloudskin policy test -f qos-policy.yaml --trace traces/"
)]
pub(crate) struct Policy {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Test(Test),
}

/// Run the tests of a policy, and play it over a recorded trace
///
/// Tests stand in the policy's own file: samples, and what it is to say of them. With a trace of
/// two sites, models are trained on its first part and the rest is played as `replay` does, beside
/// the reactive rule, staying, and an oracle that knows the future. Needs no control plane.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin policy test -f qos-policy.yaml
  cloudskin policy test -f qos-policy.yaml --trace traces/
  cloudskin policy test -f qos-policy.yaml --trace traces/ -v     each decision of one run
  cloudskin policy test -f qos-policy.yaml --trace traces/ -o json

A policy's `model` is ewma, mean or max, a function of its own Python (python/NAME), or a model of the
catalog; with a trace it may be ridge, gbm or forest, too. Sensors in Python see the samples of a test;
actuators are not called. The exit code is 1 if a test fails.")]
pub(crate) struct Test {
    /// A file with one policy or several, a folder, or `-` for standard input
    #[arg(short, long = "filename", value_name = "FILE|DIR|-", required = true)]
    files: Vec<String>,
    /// What was measured: a file, or a folder of files
    #[arg(long, value_name = "PATH")]
    trace: Option<PathBuf>,
    /// The part of the trace that is played; what lies before is learned from
    #[arg(long, default_value_t = 0.3, value_name = "SHARE", value_parser = share, requires = "trace")]
    test_share: f64,
    #[command(flatten)]
    catalog: CatalogArgs,
    #[command(flatten)]
    format: FormatArgs,
}

/// What came of one policy.
#[derive(Debug, Serialize)]
struct Report {
    policy: String,
    tests: Vec<Tested>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<Comparison>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    decisions: Vec<Decision>,
}

/// One decision over the trace.
#[derive(Debug, Serialize)]
struct Decision {
    at_s: i64,
    site: String,
    alarm: bool,
    go: bool,
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fallback: Option<String>,
}

pub(crate) fn run(args: &Policy, session: &Session, verbose: bool) -> anyhow::Result<ExitCode> {
    let Verb::Test(args) = &args.command;
    let policies = policies(&args.files)?;
    let trace = args.trace.as_deref().map(read).transpose()?;
    let stretches = trace.as_ref().map(|trace| trace.split(1.0 - args.test_share));
    let mut reports = Vec::new();
    for (name, spec) in &policies {
        let report = test(name, spec, stretches.as_ref(), (args.catalog.open(session)?, verbose));
        reports.push(report.with_context(|| format!("policy `{name}`"))?);
    }
    let told: String = reports.iter().map(|report| text(report, Style::for_stdout())).collect();
    args.format.print(&reports, &told)?;
    let passed = reports.iter().flat_map(|report| &report.tests).all(|test| test.passed);
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The policies of these files; other resources in them are left alone.
fn policies(files: &[String]) -> anyhow::Result<Vec<(String, PolicySpec)>> {
    let mut found = Vec::new();
    for mut manifest in apply::read(files, api::DEFAULT_TENANT)? {
        manifest.link_python()?;
        let resource = manifest.resource;
        if resource.kind == Kind::Policy {
            found.push((resource.metadata.name.clone(), resource.spec()?));
        }
    }
    if found.is_empty() {
        let message = "there is no policy in these files: `kind: Policy`";
        return Err(Failure::error(ErrorKind::Invalid, message));
    }
    Ok(found)
}

fn test(
    name: &str,
    spec: &PolicySpec,
    stretches: Option<&(Stretch, Stretch)>,
    (catalog, verbose): (Catalog, bool),
) -> anyhow::Result<Report> {
    let setup = Setup::default();
    let worker = spec.python.as_ref().map(python::Worker::new).transpose()?.map(Arc::new);
    let trained = stretches.map(|(learn, _)| agent::Trained::on(learn, setup.training.clone()));
    let known = Known { trained, catalog: CatalogModels(catalog) };
    let models = python::Models::new(&known, worker.clone());
    let agent = match stretches {
        Some(_) => agent::trained(spec, &models, &setup).map_err(failed)?,
        None => untrained(spec, &models)?,
    };
    let worker = worker.as_deref();
    let tests = spec.tests.iter().map(|case| run_case(&agent, case, worker));
    let tests = tests.collect::<anyhow::Result<_>>()?;
    let (mut trace, mut decisions) = (None, Vec::new());
    if let Some((learn, play)) = stretches {
        trace = Some(agent::play(name, &agent, learn, play, &setup).map_err(failed)?);
        if verbose {
            let steps = agent::steps(&agent, play, &setup).map_err(failed)?;
            decisions = steps.into_iter().map(decision).collect();
        }
    }
    Ok(Report { policy: name.to_owned(), tests, trace, decisions })
}

/// Models that are trained on a trace, and those of a catalog.
#[derive(Debug)]
struct Known<'a> {
    trained: Option<agent::Trained<'a>>,
    catalog: CatalogModels,
}

impl Models for Known<'_> {
    fn load(&self, wanted: &Wanted) -> learning::Result<Arc<dyn Predictor>> {
        match &self.trained {
            Some(trained) if wanted.model.parse::<model::Kind>().is_ok() => trained.load(wanted),
            _ => self.catalog.load(wanted),
        }
    }
}

/// Runs one test; the policy's own sensors are asked about its samples.
fn run_case(agent: &Agent, case: &Case, worker: Option<&python::Worker>) -> anyhow::Result<Tested> {
    let mut wrong = None;
    let tested = agent::run_case(agent, case, |moment| {
        let Some(worker) = worker else { return Figures::new() };
        let sensors = agent.spec().python_sensors();
        python::sensor::ask_all(worker, sensors, moment).unwrap_or_else(|error| {
            wrong = Some(error);
            Figures::new()
        })
    });
    match wrong {
        Some(error) => Err(Failure::error(ErrorKind::Invalid, error.to_string())),
        None => Ok(tested),
    }
}

fn untrained(spec: &PolicySpec, models: &dyn Models) -> anyhow::Result<Agent> {
    let agent = Agent::new(spec, models, &[0]).map_err(failed)?;
    match agent.without_model() {
        Some(reason) if !spec.tests.is_empty() => {
            let message = format!("{reason}; with --trace also ridge, gbm and forest");
            Err(Failure::error(ErrorKind::Invalid, message))
        }
        _ => Ok(agent),
    }
}

fn failed(error: learning::Error) -> anyhow::Error {
    let kind = error.kind();
    Failure::error(kind, types::chain(&error))
}

fn decision(step: agent::Step) -> Decision {
    let agent::Step { at_s, site, advice } = step;
    Decision {
        at_s,
        site,
        alarm: advice.verdict.alarm,
        go: advice.verdict.go.is_some(),
        reason: advice.reason,
        held: advice.held,
        fallback: advice.fallback,
    }
}

fn text(report: &Report, style: Style) -> String {
    let mut text = format!("policy {}\n", report.policy);
    for test in &report.tests {
        let word = if test.passed { "passed" } else { "failed" };
        text += &format!("  {}  {}: {}\n", style.by_state(word), test.name, test.said);
        if !test.passed {
            text += &format!("          expected: {}\n", test.expected);
        }
    }
    if let Some(trace) = &report.trace {
        text +=
            &format!("\nservice level {} ms\n{}", trace.sla_ms, table(&trace.rows).render(style));
    } else if report.tests.is_empty() {
        text += "  it is well formed; it has no `tests`, and no --trace was given\n";
    }
    if !report.decisions.is_empty() {
        text += &format!("\n{}", decisions(&report.decisions).render(style));
    }
    output::tame(&text)
}

fn decisions(each: &[Decision]) -> Table {
    let mut table = Table::new(&["TIME (UTC)", "AT", "ALARM", "SAID", "BECAUSE"]);
    for decision in each {
        let ms = u64::try_from(decision.at_s).unwrap_or_default().saturating_mul(1000);
        let said = match (decision.go, &decision.held) {
            (true, _) => "go",
            (false, Some(_)) => "held back",
            (false, None) => "stay",
        };
        let parts = [Some(&decision.reason), decision.held.as_ref(), decision.fallback.as_ref()];
        let because: Vec<_> = parts.into_iter().flatten().cloned().collect();
        table.row(vec![
            crate::when::moment(ms),
            decision.site.clone(),
            if decision.alarm { "yes" } else { "" }.to_owned(),
            said.to_owned(),
            because.join("; "),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    const POLICY: &str = "
apiVersion: cloudskin.eu/v1alpha1
kind: Policy
metadata: {name: qos}
spec:
  service: counter
  sla: 100ms
  model: MODEL
  tests:
  - name: leaves a busy edge
    at: edge
    places: {edge: {edge: true, latency: [150, 160, 150, 150, 150]}, cloud: {latency: [60, 60, 60, 60, 60]}}
    expect: {go: cloud}
";

    fn file(text: &str, suffix: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::with_suffix(suffix).unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    /// Four hours of two sites that are bad in turn, ten seconds apart.
    fn trace() -> tempfile::NamedTempFile {
        let mut text = "timestamp,site,latency_ms\n".to_owned();
        for at in 0..1440 {
            let bad = at / 180 % 2;
            for (site, name) in ["edge", "cloud"].iter().enumerate() {
                let latency = if site == bad { 150 } else { 60 } + at % 5;
                writeln!(text, "{},{name},{latency}", 1_700_000_000 + at * 10).unwrap();
            }
        }
        file(&text, ".csv")
    }

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Policy,
    }

    fn args(policy: &str) -> Policy {
        let line = ["policy", "test", "-f", policy];
        <Line as clap::Parser>::try_parse_from(line).unwrap().args
    }

    #[test]
    fn a_policy_is_tested_by_its_own_tests_and_by_a_trace() {
        let policy = file(&POLICY.replace("MODEL", "ridge"), ".yaml");
        let trace = trace();
        let read = read(trace.path()).unwrap();
        let (learn, play) = read.split(0.7);
        let found = policies(&[policy.path().display().to_string()]).unwrap();

        let report =
            test("qos", &found[0].1, Some(&(learn, play)), (Catalog::at("/nowhere"), true))
                .unwrap();

        let rows = &report.trace.as_ref().unwrap().rows;
        let row = |name: &str| rows.iter().find(|row| row.policy == name).unwrap();
        let broken = |name: &str| row(name).figures.sla_broken_s;
        assert!(broken("qos") < broken("stay-a") && broken("qos") >= broken("oracle"));
        let told = text(&report, Style::plain());
        for word in ["qos", "reactive", "stay-b", "oracle", "goes"] {
            assert!(told.contains(word), "{word}: {told}");
        }
    }

    #[test]
    fn the_shipped_examples_pass_their_tests() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/policies");

        let code = run(&args(folder), &Session::alone(), false).unwrap();

        assert_eq!(code, ExitCode::SUCCESS);
        for name in ["follow", "ahead"] {
            let vehicle = folder.replace("policies", &format!("mobility/vehicle/{name}.yaml"));
            let code = run(&args(&vehicle), &Session::alone(), false).unwrap();
            assert_eq!(code, ExitCode::SUCCESS, "{name}");
        }
        assert!(
            policies(&[folder.to_owned()]).unwrap().iter().all(|(_, spec)| !spec.tests.is_empty())
        );
    }

    #[test]
    fn a_policy_in_python_is_tested_with_its_functions() {
        let shipped =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/policies/python/policy.yaml");
        assert_eq!(run(&args(shipped), &Session::alone(), false).unwrap(), ExitCode::SUCCESS);

        let folder = tempfile::tempdir().unwrap();
        let written = std::fs::read_to_string(shipped).unwrap();
        let policy = folder.path().join("policy.yaml");
        let source = "from cloudskin.agents import model, sensor\n\
             @sensor\ndef watch_qos(runs, args, kwargs): return {'edge': args[0]}\n\
             @model\ndef predict(history, horizon): return 0.0\n";
        std::fs::write(folder.path().join("agents.py"), source).unwrap();
        let conditions = "  conditions: {alarm: \"here.watch_qos > 100\"}\n  tests:\n";
        std::fs::write(&policy, written.replace("  tests:\n", conditions)).unwrap();
        let code = || run(&args(&policy.display().to_string()), &Session::alone(), false);
        assert_eq!(code().unwrap(), ExitCode::FAILURE, "the alarm follows the sensor");

        std::fs::write(folder.path().join("agents.py"), "import nothing_of_the_kind").unwrap();
        assert!(format!("{:#}", code().unwrap_err()).contains("nothing_of_the_kind"));
        std::fs::remove_file(folder.path().join("agents.py")).unwrap();
        assert!(format!("{:#}", code().unwrap_err()).contains("agents.py"));
    }

    #[test]
    fn a_test_that_fails_is_a_failure() {
        let good = file(&POLICY.replace("MODEL", "ewma"), ".yaml");
        let bad = file(
            &POLICY.replace("MODEL", "ewma").replace("{go: cloud}", "{alarm: false}"),
            ".yaml",
        );
        let code = |file: &tempfile::NamedTempFile| {
            run(&args(&file.path().display().to_string()), &Session::alone(), false)
                .map(|code| code == ExitCode::SUCCESS)
        };

        assert!(code(&good).unwrap());
        assert!(!code(&bad).unwrap());
        let untrained = file(&POLICY.replace("MODEL", "ridge"), ".yaml");
        assert!(format!("{:#}", code(&untrained).unwrap_err()).contains("with --trace"));
        let none =
            file("apiVersion: cloudskin.eu/v1alpha1\nkind: Site\nmetadata: {name: a}\n", ".yaml");
        assert!(code(&none).unwrap_err().to_string().contains("no policy"));
    }
}
