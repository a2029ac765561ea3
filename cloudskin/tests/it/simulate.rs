//! Traces of jobs, simulated by the binary.

use crate::{command, finish};
use serde_json::Value;

const TRACE: &str = "\
job,arrival_s,kind,cpus,work_cpu_s,min_cpus,max_cpus
grows,0,openmp,2,80,1,8
ranks,0,mpi,6,60,,
";

#[tokio::test]
async fn a_trace_is_simulated_beside_virtual_machines_and_a_wrong_one_is_refused_by_line() {
    let home = tempfile::tempdir().unwrap();
    let run = async |words: &str, input: &str| finish(command(home.path()), words, input).await;
    let words = "simulate --trace - --cpus 1x8 --policy binpack --policy locality,elastic";

    let table = run(words, TRACE).await.ok();
    let json = run(&format!("{words} -o json"), TRACE).await.ok();

    assert!(table.contains("static-vm") && table.contains("locality,elastic"), "{table}");
    let report: Value = serde_json::from_str(&json).unwrap();
    let makespans: Vec<_> =
        report["runs"].as_array().unwrap().iter().map(|run| run["makespanS"].as_f64()).collect();
    // Alone on the host once the ranks have ended, the elastic job has all eight CPUs.
    assert_eq!(makespans, [Some(50.0), Some(40.0), Some(17.5)]);
    let wrong = run("simulate --trace -", &format!("{TRACE}bad,0,mpi,none,1,,\n")).await;
    assert_eq!(wrong.code, 2, "{wrong:?}");
    assert!(wrong.err.contains("line 4, column `cpus`: `none`"), "{wrong:?}");
    assert_eq!(run("simulate --trace nowhere.csv", "").await.code, 3);
    assert_eq!(run("simulate --synthetic 5 --cpus 4", "").await.code, 2);
    assert_eq!(run("simulate --synthetic 5 --policy best", "").await.code, 2);
}
