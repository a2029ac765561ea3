//! Groups of the real kernel, where this process may make some.

use isolation::{Controller, CpuSet, Error, Group, Groups, Limits, Survey};
use std::{
    fs,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Ended and removed whatever becomes of the test.
struct Guarded {
    group: Group,
    children: Vec<Child>,
}

impl Guarded {
    fn new(groups: &Groups, id: &str, limits: &Limits) -> Self {
        Self {
            group: groups.group(id, limits).expect("the limits are taken"),
            children: Vec::new(),
        }
    }

    /// A shell that waits for a line before it does what it shall; it is in the group by then.
    fn shell(&mut self, script: &str) -> &mut Child {
        let script = format!("read go; {script}");
        let mut child = Command::new("/bin/sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell starts");
        self.group.add(child.id()).expect("it is moved");
        drop(std::mem::take(&mut child.stdin));
        self.children.push(child);
        self.children.last_mut().expect("it was just put there")
    }

    fn end(&mut self) {
        for mut child in self.children.drain(..) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.end();
        if let Err(error) = self.group.remove() {
            eprintln!("{error}");
        }
    }
}

/// Groups with these controllers, or none, having said why.
fn groups(name: &str, controllers: &[Controller]) -> Option<Groups> {
    let groups = match Groups::open(&format!("{name}-{}", std::process::id())) {
        Ok(groups) => groups,
        Err(error) => {
            eprintln!("skipped: {error}");
            return None;
        }
    };
    let missing = groups.missing().iter().find(|missing| controllers.contains(&missing.controller));
    if let Some(missing) = missing {
        eprintln!("skipped: {missing}");
        return None;
    }
    Some(groups)
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(30), "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The processors that a process may run on.
fn cpus_of(process: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    line.expect("the kernel says so").trim().to_owned()
}

/// One processor that this process may use.
fn one_cpu() -> CpuSet {
    let all: CpuSet = cpus_of("self").parse().expect("the kernel writes sets");
    let first = all.iter().next().expect("it runs somewhere");
    first.to_string().parse().expect("a number is a set")
}

fn output(child: &mut Child) -> String {
    let stdout = child.stdout.take().expect("it is read once");
    std::io::read_to_string(stdout).expect("a pipe can be read")
}

#[test]
fn looking_makes_nothing_and_says_what_there_is() {
    let survey = Survey::of_this_process();

    let known = survey.found.iter().map(|found| found.controller);
    let mut known: Vec<_> = known.chain(survey.missing.iter().map(|m| m.controller)).collect();
    known.sort();
    known.retain(|controller| *controller != Controller::Cpuacct);
    assert_eq!(known, Controller::LIMITING);
    assert!(survey.found.iter().all(|found| found.folder.is_dir()));
}

#[test]
fn a_process_is_in_its_group_until_it_ends() {
    let Some(groups) = groups("life", &[]) else { return };
    let mut guarded = Guarded::new(&groups, "t-a", &Limits::default());
    let pid = guarded.shell("exec sleep 60").id();

    let places = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let name = format!("/cloudskin.life-{}.t-a", std::process::id());
    assert!(places.contains(&name), "{places}");
    assert!(matches!(guarded.group.remove(), Err(Error::Busy { .. })));
    assert!(groups.sweep(&[]).is_empty(), "it has a process");

    guarded.end();
    assert!(matches!(guarded.group.add(pid), Err(Error::Ended(_))));
    wait_until("the empty group is swept", || groups.sweep(&[]) == ["t-a"]);
    guarded.group.remove().unwrap();
}

#[test]
fn all_limits_are_taken_and_given_back_while_it_runs() {
    let Some(groups) = groups("limits", &Controller::LIMITING) else { return };
    let limits = Limits {
        cpu_share: Some(250),
        cpu_max: Some(1500),
        cpus: Some(one_cpu()),
        memory_bytes: Some(64 << 20),
        tasks_max: Some(64),
    };
    let mut guarded = Guarded::new(&groups, "t-a", &Limits::default());
    let pid = guarded.shell("exec sleep 60").id();
    let cpus = || cpus_of(&pid.to_string());
    let before = cpus();

    guarded.group.set(&limits).unwrap();
    assert_eq!(cpus(), one_cpu().to_string());
    guarded.group.set(&Limits::default()).unwrap();
    assert_eq!(cpus(), before);
    wait_until("what it uses is counted", || {
        let usage = guarded.group.usage().unwrap();
        usage.cpu.is_some_and(|cpu| cpu > Duration::ZERO)
            && usage.memory_bytes.is_some_and(|bytes| bytes > 0)
    });
}

#[test]
fn processors_that_the_host_has_not_are_refused() {
    let Some(groups) = groups("absent", &[Controller::Cpuset]) else { return };
    let limits = Limits { cpus: Some("8191".parse().unwrap()), ..Limits::default() };

    let error = groups.group("t-a", &limits).unwrap_err();

    assert!(matches!(error, Error::Cpus { .. }), "{error}");
    assert!(groups.sweep(&[]).is_empty(), "nothing half done is left");
}

#[test]
fn a_hard_quota_holds_a_spinning_process_back() {
    let Some(groups) = groups("quota", &[Controller::Cpu]) else { return };
    let limits = Limits { cpu_max: Some(100), ..Limits::default() };
    let mut guarded = Guarded::new(&groups, "t-a", &limits);
    guarded.shell("while :; do :; done");

    let started = Instant::now();
    wait_until("it is held back", || {
        guarded.group.usage().unwrap().throttled.unwrap() > Duration::from_millis(150)
    });

    if let Some(cpu) = guarded.group.usage().unwrap().cpu {
        assert!(cpu < started.elapsed() / 2, "{cpu:?} in {:?}", started.elapsed());
    }
}

#[test]
fn groups_get_processor_time_by_their_shares() {
    let Some(groups) = groups("shares", &[Controller::Cpu, Controller::Cpuset]) else { return };
    let limits =
        |share| Limits { cpu_share: Some(share), cpus: Some(one_cpu()), ..Limits::default() };
    let mut few = Guarded::new(&groups, "few", &limits(500));
    let mut many = Guarded::new(&groups, "many", &limits(4000));
    few.shell("while :; do :; done");
    many.shell("while :; do :; done");
    let cpu = |guarded: &Guarded| guarded.group.usage().unwrap().cpu.unwrap_or_default();

    // Eight to one; others may run there meanwhile, at whatever weight.
    wait_until("they have run", || cpu(&many) > Duration::from_millis(400));

    assert!(cpu(&few) * 3 < cpu(&many), "{:?} beside {:?}", cpu(&few), cpu(&many));
    assert!(cpu(&few) > Duration::ZERO, "nobody starves");
}

#[test]
fn a_bomb_of_processes_stays_below_its_limit() {
    let Some(groups) = groups("tasks", &[Controller::Pids]) else { return };
    let limits = Limits { tasks_max: Some(8), ..Limits::default() };
    let mut guarded = Guarded::new(&groups, "t-a", &limits);

    // The shell ends with an error at the first process that it cannot start.
    let script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 60 & echo; done";
    let child = guarded.shell(script);
    let status = child.wait().unwrap();

    assert!(!status.success(), "all were started");
    let usage = guarded.group.usage();
    let text = fs::read_to_string("/proc/self/cgroup").unwrap();
    assert!(usage.is_ok(), "{usage:?} {text}");
    kill_all(&guarded);
}

/// What the shell has left in the group.
fn kill_all(guarded: &Guarded) {
    wait_until("the group is empty", || {
        let name = format!("cloudskin.tasks-{}.t-a", std::process::id());
        let folders = Survey::of_this_process().found.into_iter();
        let pids = folders
            .filter(|found| found.controller == Controller::Pids)
            .find_map(|found| {
                fs::read_to_string(found.folder.join(&name).join("cgroup.procs")).ok()
            })
            .unwrap_or_default();
        for pid in pids.split_whitespace() {
            let _ = Command::new("kill").args(["-9", pid]).status();
        }
        pids.is_empty() && guarded.group.remove().is_ok()
    });
}

#[test]
fn beyond_its_memory_a_process_is_ended_and_not_its_neighbours() {
    let Some(groups) = groups("memory", &[Controller::Memory]) else { return };
    let limits = Limits { memory_bytes: Some(16 << 20), ..Limits::default() };
    let mut guarded = Guarded::new(&groups, "t-a", &limits);

    // It doubles a text for ever.
    let child = guarded.shell("x=0123456789abcdef; while :; do x=$x$x; done; echo survived");
    let status = child.wait().unwrap();
    let said = output(child);

    assert!(!status.success(), "{status}");
    assert_eq!(said, "");
}
