//! Workers in control groups, where this host has some for us.

use super::*;
use isolation::{Controller, CpuSet, Survey, Version};
use std::{fs, path::PathBuf};

/// Where groups can be made with this controller; none, having said why, if they cannot.
fn place(controller: Controller) -> Option<(Version, PathBuf)> {
    let survey = Survey::of_this_process();
    let found = survey.found.iter().find(|found| found.controller == controller);
    if found.is_none() {
        eprintln!("skipped: {:?}", survey.missing);
    }
    found.map(|found| (found.version, found.folder.clone()))
}

/// The group of the agent's worker in this hierarchy.
fn group(folder: &std::path::Path, agent: &Agent, worker: &str) -> Option<PathBuf> {
    let pid = agent.worker_pid(worker)?.to_string();
    let groups = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    let has = |group: &PathBuf| {
        let processes = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        processes.lines().any(|line| line == pid)
    };
    let name = |group: &PathBuf| group.to_string_lossy().ends_with(&format!(".{worker}"));
    groups.into_iter().find(|group| name(group) && has(group))
}

#[test]
fn a_worker_has_the_share_of_its_services_for_as_long_as_it_lives() {
    let Some((version, folder)) = place(Controller::Cpu) else { return };
    let control = Control::new(&token(), LEASE);
    let mut agent = serving(&control, "edge", 2, |_| {});
    let share = |agent: &Agent| {
        let group = group(&folder, agent, "t-default")?;
        let file = if version == Version::V1 { "cpu.shares" } else { "cpu.weight" };
        fs::read_to_string(group.join(file)).ok()?.trim().parse::<u32>().ok()
    };
    let (half, two) = if version == Version::V1 { (512, 2048) } else { (20, 79) };

    wait_until("it has what one service asks for", LIMIT, || share(&agent) == Some(half));

    let mut second = assignment(&control, "second", 1);
    second.spec.resources.cpu = Cpu(1500);
    control.desire("edge", |desired| desired.services.push(second));
    wait_until("it has what both ask for", LIMIT, || share(&agent) == Some(two));

    let killed = agent.worker_pid("t-default");
    agent.signal_worker("t-default", rustix::process::Signal::KILL);
    wait_until("its successor has the same", LIMIT, || {
        agent.worker_pid("t-default") != killed && share(&agent) == Some(two)
    });

    // The next agent adopts it with all that it has.
    let pid = agent.worker_pid("t-default");
    agent.kill();
    agent.restart();
    control.desire("edge", |desired| desired.services.truncate(1));
    wait_until("the next agent goes on", LIMIT, || share(&agent) == Some(half));
    assert_eq!(agent.worker_pid("t-default"), pid);

    let left = group(&folder, &agent, "t-default").unwrap();
    agent.shutdown.take().unwrap().send(Exit::StopWorkers).unwrap();
    wait_until("its group goes with it", LIMIT, || !left.exists());
}

#[test]
fn a_tenant_stays_on_its_processors() {
    if place(Controller::Cpuset).is_none() {
        return;
    }
    let list = |process: &str| {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        line.unwrap().trim().to_owned()
    };
    let first = list("self").parse::<CpuSet>().unwrap().iter().next().unwrap().to_string();
    let control = Control::new(&token(), LEASE);
    let agent = Agent::start_with(&control, "edge", 3, |config| {
        config.cpu_sets = CpuSets::parse(&[format!("default={first}")]).unwrap();
    });
    let wanted = assignment(&control, "echo", 1);
    control.desire("edge", |desired| desired.services.push(wanted));
    wait_for(&control, "edge", "uid-echo", HeldState::Serving);

    let pid = agent.worker_pid("t-default").unwrap();
    assert_eq!(list(&pid.to_string()), first);
}

#[test]
fn processors_that_are_not_there_are_refused_at_the_start() {
    let control = Control::new(&token(), LEASE);
    let config = Config {
        cpu_sets: CpuSets::parse(&["8191".into()]).unwrap(),
        ..Agent::start(&control, "edge", 4).config.clone()
    };
    let folder = Folder::new();
    let config =
        Config { data_dir: folder.path().join("other"), peer_port: 0, ingress_port: 0, ..config };
    let runtime = tokio::runtime::Runtime::new().unwrap();

    let error = runtime.block_on(Site::open(config)).map(drop).unwrap_err();

    assert!(error.to_string().contains("`cpu_sets`"), "{error}");
}
