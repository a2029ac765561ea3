//! A worker whose agent does not come back.

use crate::{
    failures::lost,
    world::{CONVERGED, Continuum, Process},
};
use rustix::process::Signal;
use std::{
    collections::BTreeSet,
    fs,
    process::{Child, Stdio},
};
use testkit::wait_until;

#[test]
fn a_worker_left_alone_checkpoints_and_exits_and_the_next_agent_goes_on_from_there() {
    let Some(continuum) = Continuum::up() else { return };
    // No checkpoint is due for an hour: the last one is that of the worker that gives up.
    let spec = ["durability: checkpoint", "checkpointEvery: 1h", "onSiteLost: keep"];
    continuum.serve("ledger", &spec);
    let mut second = replace_agent(&continuum);
    let mut http = None;
    wait_until("the new agent serves", CONVERGED, || {
        let mut knocked = continuum.http_at("edge", "ledger");
        let answers = knocked.get("/sum").is_ok_and(|answer| answer.status == 200);
        http = answers.then_some(knocked);
        http.is_some()
    });
    let mut http = http.unwrap();
    for number in 1..=20 {
        assert_eq!(http.get("/add").unwrap().ok(), number.to_string());
    }
    let worker = continuum.pid(Process::Worker("edge")).unwrap();

    second.kill().unwrap();
    second.wait().unwrap();

    wait_until("the worker has given up", CONVERGED, || {
        continuum.pid(Process::Worker("edge")).is_none()
    });
    let log = fs::read_to_string(continuum.data().join("sites/edge/workers/t-default.log"));
    assert!(log.unwrap().contains("no agent has come back"));
    assert!(continuum.signal(Process::Supervisor, Signal::CONT));
    let answer = continuum.http_at("edge", "ledger").get("/add").unwrap();
    assert_eq!(answer.ok(), "21");
    assert_ne!(continuum.pid(Process::Worker("edge")), Some(worker));
    let service = continuum.until_ready("ledger");
    assert_eq!((lost(&service), &service["status"]["epoch"]), (BTreeSet::new(), &1.into()));
}

/// In place of the edge's agent and worker comes an agent whose workers wait for a second, and
/// nobody replaces it.
fn replace_agent(continuum: &Continuum) -> Child {
    let agent = continuum.pid(Process::Agent("edge")).unwrap().as_raw_nonzero();
    let command = fs::read(format!("/proc/{agent}/cmdline")).unwrap();
    let words: Vec<_> = command.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    let words: Vec<&str> = words.iter().map(|word| &**word).collect();
    let words = words[1..].strip_suffix(&[""]).unwrap();
    let supervisor = continuum.pid(Process::Supervisor).unwrap().as_raw_nonzero();
    assert!(continuum.signal(Process::Supervisor, Signal::STOP));
    wait_until("the supervisor has stopped", CONVERGED, || {
        let stat = fs::read_to_string(format!("/proc/{supervisor}/stat")).unwrap();
        stat.rsplit_once(") ").unwrap().1.starts_with('T')
    });
    continuum.kill(Process::Agent("edge"));
    continuum.kill(Process::Worker("edge"));
    let more = ["--workers-exit-without-agent-after", "1s"];
    continuum.command(words, &more).stderr(Stdio::inherit()).spawn().unwrap()
}

#[test]
fn workers_are_not_told_to_give_up_before_an_agent_can_come_back() {
    let Some(continuum) = Continuum::up() else { return };

    for wait in ["0s", "999ms", "soon"] {
        let words = ["worker", "--socket", "s", "--token-file", "t", "--data", "d"];
        let run = continuum.run_with(&words, &["--exit-without-agent-after", wait]);
        run.fails(2, "--exit-without-agent-after");
    }
}
