//! Objects from the command line, and the parts that serve them alone.

use crate::{Run, command, finish};
use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Child, Stdio},
    time::Duration,
};
use testkit::wait_until;

pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// A part that runs until it is dropped.
pub(crate) struct Served(Child);

impl Served {
    pub(crate) fn start(home: &Path, words: &str) -> Self {
        let mut serve = command(home).into_std();
        let log = fs::File::create(home.join("serve.log")).unwrap();
        serve.args(words.split(' ')).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Self(serve.spawn().unwrap())
    }

    /// What it says once it is ready.
    pub(crate) fn ready(&mut self, home: &Path, sign: &str) -> String {
        let said = || fs::read_to_string(home.join("serve.log")).unwrap();
        wait_until("it serves", LIMIT, || {
            assert!(self.0.try_wait().unwrap().is_none(), "{}", said());
            said().contains(sign)
        });
        said()
    }

    /// Ends it in order.
    pub(crate) fn end(mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) async fn run(home: &Path, words: &str) -> Run {
    finish(command(home), words, "").await
}

#[tokio::test]
async fn a_prefix_is_kept_and_comes_back_and_goes_outside() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    fs::create_dir_all(home.join("run1")).unwrap();
    fs::create_dir_all(home.join("outside")).unwrap();
    fs::write(home.join("run1/model"), "good").unwrap();
    let mut node = Served::start(home, "serve geds --memory 64Mi");
    node.ready(home, "CLOUDSKIN_GEDS=");
    run(home, "geds cp ./run1 geds://lab/run1 --recursive").await.ok();
    run(home, "geds checkpoint lab/run1").await.ok();
    let again = run(home, "geds checkpoint lab/run1 --name second").await.ok();
    assert!(again.contains("second  1 objects, 4 B"), "{again}");
    let taken = run(home, "geds checkpoint lab/run1 --name second").await;
    assert!(taken.code == 4 && taken.err.contains("already"), "{taken:?}");

    fs::write(home.join("run1/model"), "bad").unwrap();
    run(home, "geds cp ./run1 geds://lab/run1 --recursive").await.ok();
    let back = run(home, "geds restore lab/run1").await.ok();
    assert!(back.contains("geds://lab/run1/ is as it was"), "{back}");
    assert_eq!(run(home, "geds cat geds://lab/run1/model").await.ok(), "good");
    let listed = run(home, "geds checkpoints lab").await.ok();
    assert!(listed.contains("run1-2") && listed.contains("second"), "{listed}");
    run(home, "geds checkpoints lab --delete second").await.ok();
    assert!(!run(home, "geds ls").await.ok().contains("internal"), "own buckets are not shown");
    assert!(run(home, "geds ls --all").await.ok().contains("checkpoints.cloudskin.internal"));
    let none = run(home, "geds restore lab --name second").await;
    assert!(none.code == 3 && none.err.contains("no checkpoint `second`"), "{none:?}");

    let outside = format!("file://{}/outside", home.display());
    run(home, &format!("geds export geds://lab/run1/ {outside}")).await.ok();
    assert_eq!(fs::read_to_string(home.join("outside/run1/model")).unwrap(), "good");
    fs::write(home.join("outside/run1/more"), "from outside").unwrap();
    run(home, &format!("geds attach geds://lab {outside} --class cold")).await.ok();
    assert_eq!(run(home, "geds cat geds://lab/run1/more").await.ok(), "from outside");
    assert!(run(home, "geds attach").await.ok().contains("cold"));
    let moved = run(home, "geds relocate geds://lab/run1").await.ok();
    assert!(moved.starts_with("1 objects were moved"), "{moved}");
    let stat = run(home, "geds stat geds://lab/run1/model -o json").await.ok();
    assert!(stat.contains("\"Outside\""), "{stat}");
    assert_eq!(run(home, "geds cat geds://lab/run1/model").await.ok(), "good");
    run(home, "geds set geds://lab/run1 --recursive --class cold").await.ok();
    let stat = run(home, "geds stat geds://lab/run1/model -o json").await.ok();
    assert!(stat.contains("\"class\": \"cold\""), "{stat}");
    assert_eq!(run(home, "geds set geds://lab/run1 --high-water 50").await.code, 2);
    assert!(run(home, "geds attach").await.ok().contains("no"), "it is not kept");
    run(home, &format!("geds attach geds://lab {outside} --class cold --keep")).await.ok();
    assert!(run(home, "geds attach -o json").await.ok().contains("\"kept\": true"));
    run(home, "geds set --high-water 50 --cache 8Mi").await.ok();
    let usage = run(home, "geds usage -o json").await.ok();
    assert!(usage.contains("\"high_water_percent\": 50"), "{usage}");
    assert_eq!(run(home, "geds lost -o json").await.ok().trim(), "[]");
    node.end();
}

#[tokio::test]
async fn stores_of_two_sites_use_each_others_buckets() {
    let [cloud, edge] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (cloud, edge) = (cloud.path(), edge.path());
    // Each has to be told where the other is before it is there.
    let ports = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [at_cloud, at_edge] = ports.map(|port| port.local_addr().unwrap());
    let common = "serve geds --memory 64Mi --directory cloud";
    let words = format!("{common} --site cloud --listen-sites {at_cloud} --peer edge={at_edge}");
    let mut at_home = Served::start(cloud, &words);
    at_home.ready(cloud, &format!("other sites: {at_cloud}"));
    let words = format!("{common} --site edge --listen-sites {at_edge} --peer cloud={at_cloud}");
    let mut away = Served::start(edge, &words);
    away.ready(edge, "other sites: ");

    fs::write(cloud.join("model"), "of the cloud").unwrap();
    run(cloud, "geds cp model geds://lab/model").await.ok();
    assert_eq!(run(edge, "geds cat geds://lab/model").await.ok(), "of the cloud");
    fs::write(edge.join("frame"), "of the edge").unwrap();
    run(edge, "geds cp frame geds://lab/frame").await.ok();
    let known = run(cloud, "geds stat geds://lab/frame").await.ok();
    assert!(known.contains("site      edge"), "{known}");
    assert_eq!(run(cloud, "geds cat geds://lab/frame").await.ok(), "of the edge");

    let stranger = run(edge, "serve geds --data-dir other --peer cloud=127.0.0.1:1").await;
    assert!(stranger.code == 2 && stranger.err.contains("--site"), "{stranger:?}");
    let beside = run(edge, "serve s3 --listen 127.0.0.1:0 --site other").await;
    assert!(beside.code == 2 && beside.err.contains("has the store"), "{beside:?}");
    at_home.end();
    away.end();
}

#[tokio::test]
async fn files_become_objects_and_files_again() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    fs::create_dir_all(home.join("frames/deep")).unwrap();
    fs::write(home.join("frames/1.jpg"), [7; 100_000]).unwrap();
    fs::write(home.join("frames/deep/2.txt"), "two").unwrap();
    let nobody = run(home, "geds ls").await;
    assert!(nobody.code == 6 && nobody.err.contains("cloudskin serve geds"), "{nobody:?}");

    let mut node = Served::start(home, "serve geds --memory 64Mi");
    node.ready(home, "CLOUDSKIN_GEDS=");
    run(home, "geds cp ./frames geds://lab/frames --recursive").await.ok();
    let listed = run(home, "geds ls geds://lab/frames/").await.ok();
    assert!(
        listed.contains("geds://lab/frames/deep/\n") && listed.contains("97.7 KiB"),
        "{listed}"
    );
    let sums = run(home, "geds du geds://lab -o json").await.ok();
    assert!(sums.contains("\"objects\": 2") && sums.contains("\"bytes\": 100003"), "{sums}");
    run(home, "geds mv --recursive geds://lab/frames geds://lab/old").await.ok();
    run(home, "geds cp --recursive geds://lab/old back").await.ok();
    assert_eq!(fs::read(home.join("back/1.jpg")).unwrap(), [7; 100_000]);
    let refused = run(home, "geds cp --no-clobber back/deep/2.txt geds://lab/old/deep/2.txt").await;
    assert!(refused.code == 4 && refused.err.contains("exists already"), "{refused:?}");
    let gone = run(home, "geds stat geds://lab/frames/1.jpg").await;
    assert_eq!(gone.code, 3, "{gone:?}");
    finish(command(home), "geds cp - geds://lab/../up", "out of bounds").await.ok();
    let escapes = run(home, "geds cp --recursive geds://lab out").await;
    assert!(escapes.code == 2 && escapes.err.contains("cannot be the name"), "{escapes:?}");
    assert!(!home.join("up").exists());

    // What was in memory is there again after an orderly end.
    node.end();
    let mut again = Served::start(home, "serve geds");
    again.ready(home, "CLOUDSKIN_GEDS=");
    assert_eq!(run(home, "geds cat geds://lab/old/deep/2.txt").await.ok(), "two");
    run(home, "geds rm --recursive geds://lab").await.ok();
    run(home, "geds rb geds://lab").await.ok();
    assert_eq!(run(home, "geds ls -o json").await.ok(), "[]\n");
}

#[tokio::test]
async fn s3_is_served_beside_and_over_the_same_store() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let wider = run(home, "serve s3 --listen 0.0.0.0:0").await;
    assert!(wider.code == 2 && wider.err.contains("no TLS"), "{wider:?}");
    let mut endpoint = Served::start(home, "serve s3 --listen 127.0.0.1:0");
    let said = endpoint.ready(home, "S3: ");
    let address = said.split("http://").nth(1).unwrap().split(',').next().unwrap();
    let keys = home.join(".local/state/cloudskin-geds/s3-keys.toml");
    let secret = fs::read_to_string(&keys).unwrap();
    let secret = secret.split("secret = \"").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&keys).unwrap().permissions())
            & 0o777,
        0o600
    );

    finish(command(home), "geds cp - geds://lab/notes", "from here").await.ok();
    let s3cmd = |words: &str| {
        let mut s3cmd = std::process::Command::new("s3cmd");
        s3cmd
            .args(["--config=/dev/null", "--no-ssl", "--access_key=default"])
            .args([format!("--host={address}"), format!("--host-bucket={address}")])
            .arg(format!("--secret_key={secret}"))
            .args(words.split(' '))
            .current_dir(home);
        let done = s3cmd.output().unwrap();
        assert!(done.status.success(), "{done:?}");
        String::from_utf8(done.stdout).unwrap()
    };
    s3cmd("get s3://lab/notes copy");
    assert_eq!(fs::read_to_string(home.join("copy")).unwrap(), "from here");
    s3cmd("put copy s3://lab/back");
    assert_eq!(run(home, "geds cat geds://lab/back").await.ok(), "from here");
}
