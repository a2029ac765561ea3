//! Whole continua of stand-in processes: this test binary, started again as a control plane or
//! an agent that does just enough to be ready.

use super::*;
use api::{Kind, Resource, site::SiteStatus};
use axum::{Json, Router, routing::get};
use process::Identity;
use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};
use tokio::sync::{mpsc, oneshot};

const ROLE: &str = "CLOUDSKIN_TEST_ROLE";
const ADDRESS: &str = "CLOUDSKIN_TEST_ADDRESS";
const SITES: &str = "CLOUDSKIN_TEST_SITES";

/// What a child does.
#[test]
#[ignore = "started as a child by the other tests"]
fn stand_in() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let variable = |name| std::env::var(name).unwrap_or_default();
    let sites = PathBuf::from(variable(SITES));
    runtime.block_on(async {
        match variable(ROLE).as_str() {
            "control" => control(&variable(ADDRESS), sites).await,
            "crash" => {
                println!("the disk is on fire");
                std::process::exit(7);
            }
            site => {
                fs::write(sites.join(site), "").unwrap();
                std::future::pending().await
            }
        }
    });
}

async fn control(address: &str, sites: PathBuf) {
    let list = move || async move {
        let site = |entry: std::io::Result<fs::DirEntry>| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let mut site = Resource::new(Kind::Site, "default", &name, &serde_json::json!({}));
            site.set_status(&SiteStatus { ready: true, ..SiteStatus::default() });
            site
        };
        let items = fs::read_dir(&sites).unwrap().map(site).collect();
        Json(api::List { resource_version: 1, items })
    };
    let router = Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route(&api::paths::list("default", Kind::Site), get(list));
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    axum::serve(listener, router).await.unwrap();
}

/// A folder and the plan of a continuum in it, on a loopback network of the test's own.
struct Fixture {
    _parent: tempfile::TempDir,
    sites: PathBuf,
    folder: DataFolder,
    plan: Plan,
}

impl Fixture {
    fn new(network: &str) -> Self {
        let parent = tempfile::tempdir().unwrap();
        let sites = parent.path().join("ready");
        fs::create_dir(&sites).unwrap();
        let folder = DataFolder::at(&parent.path().join("data")).unwrap();
        let names = ["cloud".to_owned(), "edge".to_owned()];
        let plan = Plan::new(network.parse().unwrap(), &names).unwrap();
        Self { _parent: parent, sites, folder, plan }
    }

    fn child(&self, name: &str, role: &str) -> ChildSpec {
        let address = format!("{}:8470", self.plan.network.control());
        let arguments = ["--exact", "supervisor::tests::stand_in", "--ignored", "--nocapture"];
        // Skips nothing: a child's command line is like no other's.
        let own = ["--skip".into(), self.folder.root().join(name).display().to_string()];
        ChildSpec {
            name: name.into(),
            program: std::env::current_exe().unwrap(),
            args: arguments.map(Into::into).into_iter().chain(own).collect(),
            env: BTreeMap::from([
                (ROLE.into(), role.into()),
                (ADDRESS.into(), address),
                (SITES.into(), self.sites.display().to_string()),
            ]),
        }
    }

    fn children(&self) -> Vec<ChildSpec> {
        vec![
            self.child("control", "control"),
            self.child("site-cloud", "cloud"),
            self.child("site-edge", "edge"),
        ]
    }

    fn supervisor(&self) -> Result<Supervisor> {
        Supervisor::new(self.folder.clone(), self.plan.clone(), self.children())
    }

    /// Starts everything and waits until it is ready.
    async fn up(&self) -> Running {
        let (stop, stopped) = oneshot::channel::<()>();
        let (sender, mut notices) = mpsc::unbounded_channel();
        let supervisor = self.supervisor().unwrap();
        let stopped = async { drop(stopped.await) };
        let task = tokio::spawn(supervisor.run(stopped, move |notice| drop(sender.send(notice))));
        while notices.recv().await.expect("it becomes ready") != Notice::Ready {}
        Running { stop, task, notices }
    }

    fn pids(&self) -> Vec<i32> {
        let children = self.folder.state().unwrap().unwrap().children;
        children.iter().map(|child| child.pid.expect("it runs")).collect()
    }
}

impl Drop for Fixture {
    /// A test that failed leaves no child behind.
    fn drop(&mut self) {
        for (_, identity) in self.folder.children().unwrap_or_default() {
            let pid = rustix::process::Pid::from_raw(identity.pid).filter(|_| identity.is_alive());
            if let Some(pid) = pid {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}

struct Running {
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<Result<()>>,
    notices: mpsc::UnboundedReceiver<Notice>,
}

fn lives(pid: i32) -> bool {
    Identity::of(pid).is_some()
}

async fn until(mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("it holds in the end");
}

#[tokio::test]
async fn everything_is_started_kept_running_and_ended() {
    let fixture = Fixture::new("127.93.1.0");
    let mut running = fixture.up().await;
    let state = fixture.folder.state().unwrap().unwrap();
    let pids = fixture.pids();
    assert!(state.is_alive() && state.phase == Phase::Ready);

    let second = fixture.supervisor().unwrap_err();
    assert!(
        matches!(&second, Error::Locked { holder, .. } if holder.contains("127.93.1.1:8470")),
        "{second}"
    );

    let edge = rustix::process::Pid::from_raw(pids[2]).unwrap();
    rustix::process::kill_process(edge, rustix::process::Signal::KILL).unwrap();
    let notice = running.notices.recv().await.unwrap();
    assert!(
        matches!(&notice, Notice::Restarting { child, end } if child == "site-edge" && end.contains("signal: 9")),
        "{notice:?}"
    );
    until(|| fixture.folder.state().unwrap().unwrap().children[2].pid.is_some()).await;
    let restarted = fixture.pids();
    assert_eq!(restarted[..2], pids[..2]);
    assert_ne!(restarted[2], pids[2]);

    running.stop.send(()).unwrap();
    running.task.await.unwrap().unwrap();
    assert!(restarted.into_iter().all(|pid| !lives(pid)));
    assert_eq!(fixture.folder.state().unwrap(), None);
    assert!(check_ports(fixture.plan.listeners()).unwrap().is_empty());
}

#[tokio::test]
async fn children_outlive_a_lost_supervisor_and_the_next_one_adopts_them() {
    let fixture = Fixture::new("127.93.2.0");
    let lost = fixture.up().await;
    let pids = fixture.pids();

    // Nothing of it runs any more, as after a kill -9.
    lost.task.abort();
    assert!(lost.task.await.is_err());
    assert!(pids.iter().all(|pid| lives(*pid)));
    // Two were started a moment before, and not yet noted.
    for name in ["control", "site-edge"] {
        fixture.folder.remove_child(name).unwrap();
    }
    let running = fixture.up().await;

    until(|| fixture.folder.state().unwrap().unwrap().children.iter().all(|c| c.pid.is_some()))
        .await;
    assert_eq!(fixture.pids(), pids);
    running.stop.send(()).unwrap();
    running.task.await.unwrap().unwrap();
    assert!(pids.into_iter().all(|pid| !lives(pid)));
}

#[tokio::test]
async fn what_a_lost_supervisor_left_is_ended_by_down() {
    let fixture = Fixture::new("127.93.3.0");
    let lost = fixture.up().await;
    let pids = fixture.pids();
    lost.task.abort();
    assert!(lost.task.await.is_err());

    let report = down::down(&fixture.folder).await.unwrap();

    assert_eq!(report.children, ["site-cloud", "site-edge", "control"]);
    assert!(pids.into_iter().all(|pid| !lives(pid)));
    fixture.folder.purge().unwrap();
    assert!(!fixture.folder.root().exists());
}

#[tokio::test]
async fn a_child_that_cannot_start_is_shown_with_its_last_words() {
    let fixture = Fixture::new("127.93.4.0");
    let mut children = fixture.children();
    children[2] = fixture.child("site-edge", "crash");
    let supervisor =
        Supervisor::new(fixture.folder.clone(), fixture.plan.clone(), children).unwrap();

    let error = supervisor.run(std::future::pending(), |_| {}).await.unwrap_err();

    assert!(matches!(&error, Error::Crashing { child, .. } if child == "site-edge"), "{error}");
    assert!(error.to_string().contains("the disk is on fire"), "{error}");
    let state = fixture.folder.state().unwrap().unwrap();
    assert_eq!(state.phase, Phase::Failed);
    assert!(state.problem.is_some_and(|problem| problem.message.contains("site-edge")));
    assert!(fixture.folder.children().unwrap().is_empty(), "the others were ended");
}

#[tokio::test]
async fn a_taken_port_is_named_and_nothing_is_started() {
    let fixture = Fixture::new("127.93.5.0");
    let _held = std::net::TcpListener::bind("127.93.5.12:8471").unwrap();

    let supervisor = fixture.supervisor().unwrap();
    let error = supervisor.run(std::future::pending(), |_| {}).await.unwrap_err();

    let text = error.to_string();
    assert!(text.contains("port 8471 of 127.93.5.12, for the peers of site edge"), "{text}");
    assert!(text.contains(&format!("pid {}", std::process::id())), "{text}");
    assert!(fixture.folder.children().unwrap().is_empty());
}
