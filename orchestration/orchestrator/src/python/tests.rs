//! Real processes of CPython, and all that functions can do wrong.

use super::{Error, Interpreter, Models, Place, Worker};
use api::policy::Load;
use learning::{
    Past, Prediction, Sample,
    agent::{Models as _, NoModels, Wanted},
};
use serde_json::{Value, json};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

const HEAD: &str =
    "import os, time, threading\nfrom cloudskin.agents import actuator, model, sensor\n";

fn worker(source: &str, more: Value) -> Worker {
    let mut python =
        json!({"file": "agents.py", "timeout": "20s", "source": format!("{HEAD}{source}")});
    python.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Worker::new(&serde_json::from_value(python).unwrap()).unwrap()
}

/// Asks an actuator, which is the simplest function.
fn act(worker: &Worker, name: &str) -> Result<Value, Error> {
    worker.call(json!({"op": "actuator", "name": name, "decision": {"reason": "why"}}))
}

fn why(worker: &Worker, name: &str) -> String {
    act(worker, name).unwrap_err().to_string()
}

#[test]
fn functions_are_found_and_asked() {
    let worker = worker(
        "
@sensor(nodes=['edge'], every='30s')
async def watch(runs, args, kwargs):
    print('a line')
    return runs[0].mean_ms() > args[0] and kwargs['why']

@model
async def predict(history, horizon):
    value = history.mean_ms() + horizon[1]
    return (value - 1, value, value + 1)

@actuator
def act(decision):
    return {'heard': decision['reason']}
",
        json!({}),
    );

    let found = worker.functions().unwrap();
    let watch = found.iter().find(|one| one.kind == "sensor").unwrap();
    assert_eq!((watch.name.as_str(), watch.every.as_deref()), ("watch", Some("30s")));
    assert_eq!(watch.nodes, ["edge"]);
    let run = json!({"site": "edge", "here": true, "edge": true, "step_s": 5, "latency_ms": [100, null, 300]});
    let asked = json!({"op": "sensor", "name": "watch", "runs": [run], "args": [150], "kwargs": {"why": "busy"}});
    assert_eq!(worker.call(asked), Ok(json!("busy")));
    assert_eq!(act(&worker, "act"), Ok(json!({"heard": "why"})));
    assert_eq!(why(&worker, "nobody"), "there is no actuator `nobody`: there is `act`");

    let worker = Arc::new(worker);
    let models = Models::new(&NoModels, Some(worker));
    let wanted = |model| Wanted { model, load: Load::Latency, sla_ms: 100.0, ahead: (0, 300) };
    let here = [Sample { latency_ms: Some(50.0), ..Sample::default() }, Sample::default()];
    let past = Past { now_s: 0, step_s: 5, here: &here, there: &[] };
    let said = models.load(&wanted("python/predict")).unwrap().predict(&past).unwrap();
    assert_eq!(said, [Prediction { low: 349.0, value: 350.0, high: 351.0 }]);
    assert!(models.load(&wanted("lstm-7")).is_err());
}

#[test]
fn what_a_function_says_wrong_is_told_and_its_process_goes_on() {
    let worker = worker(
        "
import os
PID = os.getpid()

@actuator
def raises(decision):
    return decision['nothing']

@actuator
def nan(decision):
    return float('nan')

@actuator
def odd(decision):
    return object()

@actuator
def much(decision):
    return 'x' * (2 << 20)

@actuator
def memory(decision):
    return len('x' * (4 << 30))

@actuator
def prints(decision):
    for _ in range(2000):
        print('x' * 1000)
    os.write(2, b'y' * 100_000)

@actuator
def pid(decision):
    return PID
",
        json!({}),
    );
    let pid = act(&worker, "pid").unwrap();

    assert_eq!(why(&worker, "raises"), "KeyError: 'nothing', line 9 of `agents.py`");
    assert!(why(&worker, "nan").contains("no number"));
    assert!(why(&worker, "odd").contains("object"));
    assert!(why(&worker, "much").contains("1 MiB"));
    assert!(why(&worker, "memory").contains("MemoryError"));
    assert_eq!(act(&worker, "prints"), Ok(Value::Null));
    assert_eq!(act(&worker, "pid"), Ok(pid), "it is the same process");
}

#[test]
fn a_process_that_hangs_ends_or_babbles_is_replaced_after_a_rest() {
    let worker = worker(
        "
@actuator
def hangs(decision):
    while True: pass

@actuator
def ends(decision):
    print('farewell', flush=True)
    os._exit(7)

@actuator
def babbles(decision):
    for fd in range(3, 20):
        try: os.write(fd, b'\\xff' * 8)
        except OSError: pass

@actuator
def fine(decision):
    return 1
",
        json!({"timeout": "1s"}),
    );
    let rested = || {
        let begun = Instant::now();
        loop {
            match act(&worker, "fine") {
                Ok(answer) => return answer,
                Err(Error::Resting { .. }) => std::thread::sleep(Duration::from_millis(50)),
                Err(error) => panic!("{error}"),
            }
            assert!(begun.elapsed() < Duration::from_secs(30));
        }
    };

    assert!(why(&worker, "hangs").contains("took longer than 1s"));
    assert!(matches!(act(&worker, "fine"), Err(Error::Resting { .. })));
    assert_eq!(rested(), json!(1));
    let ended = why(&worker, "ends");
    assert!(ended.contains("exit status: 7") && ended.contains("farewell"), "{ended}");
    assert_eq!(rested(), json!(1));
    assert!(why(&worker, "babbles").contains("1 MiB"));
}

#[test]
fn it_reads_writes_starts_and_reaches_nothing_that_is_not_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("token");
    std::fs::write(&secret, "secret").unwrap();
    let source = format!(
        "
import fcntl, signal, socket, subprocess
SECRET = {secret:?}
OWNER = {owner}

def refused(act, *args):
    try:
        act(*args)
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        return type(error).__name__
    return 'DONE'

def owns_a_pipe():
    # Whom the kernel tells of what comes, in the program's name.
    ends = os.pipe()
    try:
        fcntl.fcntl(ends[0], fcntl.F_SETOWN, OWNER)
    finally:
        for end in ends:
            os.close(end)

def starts_a_thread():
    threading.Thread(target=print).start()

def has_a_pair(kind):
    for end in socket.socketpair(socket.AF_UNIX, kind):
        end.close()

@actuator
def tries(decision):
    return {{
        'reads': refused(open, SECRET),
        'passwords': refused(open, '/etc/passwd'),
        'environment': refused(open, f'/proc/{{OWNER}}/environ'),
        'writes': refused(open, '/tmp/cloudskin-agent', 'w'),
        'changes': refused(os.chmod, SECRET, 0o777),
        'removes': refused(os.remove, SECRET),
        'speaks': refused(socket.socket),
        'local': refused(socket.socket, socket.AF_UNIX),
        'starts': refused(subprocess.run, ['/usr/bin/true']),
        'forks': refused(os.fork),
        'kills': refused(os.kill, OWNER, 0),
        'signals': refused(owns_a_pipe),
        'pins': refused(os.sched_setaffinity, OWNER, {{0}}),
        'threads': refused(starts_a_thread),
        'datagrams': refused(has_a_pair, socket.SOCK_DGRAM),
    }}

@actuator
def has(decision):
    open_ = []
    for fd in range(64):
        try:
            os.fstat(fd)
            open_.append(fd)
        except OSError:
            pass
    return [dict(os.environ), open_]
",
        secret = secret.display().to_string(),
        owner = std::process::id(),
    );
    // One that is open here and not marked: it must not be there.
    let shared = std::fs::File::open(&secret).unwrap();
    rustix::io::fcntl_setfd(&shared, rustix::io::FdFlags::empty()).unwrap();
    let confined = worker(&source, json!({}));

    let tried = act(&confined, "tries").unwrap();
    for (what, came) in tried.as_object().unwrap() {
        assert!(came.as_str().unwrap().ends_with("Error"), "{what}: {came}");
    }
    let has = act(&confined, "has").unwrap();
    let environment = has[0].as_object().unwrap();
    assert!(environment.keys().all(|name| name == "LC_CTYPE"), "{environment:?}");
    // Those of the standard streams, the two of the frames, and the three of the event loop.
    assert!(has[1].as_array().unwrap().len() <= 9, "{has}");
    assert!(secret.exists());

    // A network that is granted is there; the rest is not.
    let granted = worker(&source, json!({"network": true}));
    let tried = act(&granted, "tries").unwrap();
    assert_eq!(tried["speaks"], "DONE");
    for what in ["reads", "local", "starts", "kills", "signals", "datagrams"] {
        assert!(tried[what].as_str().unwrap().ends_with("Error"), "{tried}");
    }
}

#[test]
fn it_runs_only_while_it_is_asked_and_ends_with_its_worker() {
    let worker = worker("@actuator\ndef pid(decision):\n    return os.getpid()\n", json!({}));
    let pid = act(&worker, "pid").unwrap();
    let state = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.trim().chars().next()
    };

    testkit::wait_until("it stands", Duration::from_secs(10), || state() == Some('T'));
    drop(worker);
    testkit::wait_until("it is gone", Duration::from_secs(10), || state().is_none());
}

#[test]
fn a_file_that_is_wrong_and_a_machine_without_python_are_told() {
    let said = |source: &str| worker(source, json!({})).functions().unwrap_err().to_string();

    let syntax = said("def f(:\n");
    assert!(syntax.contains("`agents.py` cannot be read: SyntaxError"), "{syntax}");
    assert!(syntax.contains("line 3"), "{syntax}");
    assert!(said("import no_such_module\n").contains("No module named 'no_such_module'"));
    assert!(said("@sensor\ndef f(): pass\n@model\ndef f(): pass\n").contains("two functions"));
    let absent = Interpreter::first(&["/nowhere/python3"]).unwrap_err().to_string();
    assert!(absent.contains("/nowhere/python3") && absent.contains("apt-get"), "{absent}");
    let other = Interpreter::first(&["/bin/true"]).unwrap_err().to_string();
    assert!(other.contains("is no Python"), "{other}");
}

#[test]
fn no_more_memory_is_promised_than_there_is() {
    let one = Place::of(1 << 30, 3 << 29).unwrap();

    let error = Place::of(1 << 30, 3 << 29).unwrap_err().to_string();

    assert!(error.contains("1536Mi, and 1Gi of it"), "{error}");
    drop(one);
    Place::of(1 << 30, 3 << 29).unwrap();
    // A small machine has room for one.
    Place::of(1 << 30, 1 << 20).unwrap();
}
