//! Small simulations with known answers, and files that are wrong.

use super::*;
use crate::plan::{Policies, Quota};
use proptest::prelude::*;
use types::{Bytes, Cpu};

const HEADER: &str = "job,arrival_s,kind,cpus,work_cpu_s,tenant,min_cpus,max_cpus,memory_mib,serial_fraction,communication\n";

fn jobs(lines: &str) -> Vec<Job> {
    read_trace(format!("{HEADER}{lines}").as_bytes()).unwrap()
}

fn cells(jobs: &[Job], setup: &Setup, list: &str) -> Run {
    simulate(jobs, setup, Policies::parse(list).unwrap(), &mut |_| ())
}

fn setup(shape: &str, sites: u32) -> Setup {
    Setup::parse(shape, sites).unwrap()
}

#[track_caller]
fn near(value: f64, expected: f64) {
    assert!((value - expected).abs() < 1e-4, "{value} is not {expected}");
}

#[test]
fn jobs_wait_in_their_order_and_every_second_is_accounted_for() {
    // The third does not fit beside the first, and the fourth comes behind it.
    let jobs = jobs(
        "a,10,openmp,3,30,t,,,,,\n\
         b,10,single,1,20,t,,,,,\n\
         c,11,openmp,2,20,t,,,,,\n\
         d,12,single,1,5,t,,,,,\n",
    );

    let run = cells(&jobs, &setup("1x4", 1), "binpack");

    // a: 10–20, b: 10–30, c: 20–30, d: 20–25.
    near(run.makespan_s, 20.0);
    near(run.wait.mean_s, (9.0 + 8.0) / 4.0);
    near(run.wait.p95_s, 9.0);
    near(run.turnaround.mean_s, (10.0 + 20.0 + 19.0 + 13.0) / 4.0);
    near(run.turnaround.p95_s, 20.0);
    near(run.idle_cpu_s, 4.0 * 20.0 - 75.0);
    near(run.utilisation, 75.0 / 80.0);
    near(run.stranded_cpu_s, 0.0);
    assert_eq!((run.finished, run.refused, run.queue_max), (4, 0, 2));
}

#[test]
fn few_may_overtake_a_job_that_does_not_fit_and_it_does_not_starve() {
    let mut lines = "first,0,single,1,100,t,,,,,\nwide,1,openmp,2,20,t,,,,,\n".to_owned();
    for number in 0..300 {
        lines += &format!("small-{number},2,single,1,1,t,,,,,\n");
    }
    let jobs = jobs(&lines);
    let fifo = setup("1x2", 1);
    let backfill = Setup { backfill: 4, ..fifo.clone() };

    let (fifo, overtaking) = (cells(&jobs, &fifo, "binpack"), cells(&jobs, &backfill, "binpack"));

    // 100 small ones overtake it, the last of them when the first ends.
    near(fifo.makespan_s, 100.0 + 10.0 + 150.0);
    near(overtaking.makespan_s, 101.0 + 10.0 + 100.0);
    near(fifo.stranded_cpu_s, 99.0);
    near(overtaking.stranded_cpu_s, 1.0);
}

#[test]
fn idle_cpus_make_an_elastic_job_faster_until_others_need_them() {
    let jobs = jobs("grows,0,openmp,2,80,t,1,8,,,\nlater,4,single,1,6,t,,,,,\n");

    let fixed = cells(&jobs, &setup("1x8", 1), "binpack");
    let elastic = cells(&jobs, &setup("1x8", 1), "binpack,elastic");

    near(fixed.makespan_s, 40.0);
    // 4 s with 8, then 6 s with 7 CPUs, then the last 6 CPU seconds with 8.
    near(elastic.makespan_s, 10.75);
    near(elastic.idle_cpu_s, 0.0);
    assert_eq!(elastic.grants, 3, "grown, shrunk and grown again");
}

#[test]
fn an_elastic_job_starts_with_fewer_cpus_rather_than_wait() {
    let jobs = jobs("other,0,openmp,6,600,t,,,,,\nsmall,1,openmp,4,8,t,1,4,,,\n");

    near(cells(&jobs, &setup("1x8", 1), "binpack").wait.p95_s, 99.0);
    near(cells(&jobs, &setup("1x8", 1), "binpack,elastic").wait.p95_s, 0.0);
}

#[test]
fn distance_and_serial_work_slow_a_job_as_the_model_says() {
    let one = |line: &str, shape, sites| {
        let jobs = jobs(line);
        cells(&jobs, &setup(shape, sites), "locality")
    };

    near(one("a,0,openmp,4,100,t,,,,0.5,\n", "1x4", 1).makespan_s, 100.0 * (0.5 + 0.5 / 4.0));
    near(one("a,0,mpi,4,100,t,,,,,1\n", "1x4", 1).makespan_s, 25.0);
    // Two and two ranks: 4 of 6 pairs are apart.
    let apart = one("a,0,mpi,4,100,t,,,,,1\n", "2x2", 1);
    near(apart.makespan_s, 25.0 * (1.0 + 0.3 * 4.0 / 6.0));
    near(apart.fragmentation, 0.666_667);
    near(apart.site_fragmentation, 0.0);
    let far = one("a,0,mpi,4,100,t,,,,,1\n", "2x2", 2);
    near(far.makespan_s, 25.0 * (1.0 + 2.3 * 4.0 / 6.0));
    near(far.site_fragmentation, 0.666_667);
    near(one("a,0,mpi,4,100,t,,,,,0\n", "2x2", 2).makespan_s, 25.0);
}

#[test]
fn compaction_gathers_a_job_and_costs_its_pause() {
    // `c` finds one CPU on each host; when `a` ends it comes together.
    let jobs =
        jobs("a,0,mpi,3,30,t,,,1000,,0\nb,0,mpi,3,300,t,,,1000,,0\nc,1,mpi,2,200,t,,,1000,,1\n");
    let mut setup = setup("2x4", 1);
    setup.model.bytes_per_s = 1000 << 20;
    setup.model.pause_us = 500_000;

    let still = cells(&jobs, &setup, "locality");
    let compacted = cells(&jobs, &setup, "locality,compaction");

    near(still.makespan_s, 131.0);
    let done = 9.0 / 1.3;
    near(compacted.makespan_s, 10.0 + 1.5 + (100.0 - done));
    assert_eq!((compacted.migrations, compacted.ranks_moved), (1, 1));
    near(compacted.pause_s, 1.5);
    assert!(compacted.fragmentation < still.fragmentation / 5.0);
}

#[test]
fn a_job_in_a_virtual_machine_keeps_what_it_does_not_use() {
    let jobs = jobs("a,0,openmp,5,50,t,,,,,\nb,0,openmp,5,50,t,1,8,,,\nc,0,mpi,24,240,t,,,,,0\n");
    let setup = setup("4x8", 1);

    let vms = static_vms(&jobs, &setup, &mut |_| ());

    // 5 threads take a machine of 8; 24 ranks three of 8, which are not free at first.
    near(vms.makespan_s, 20.0);
    near(vms.idle_cpu_s, 4.0 * 8.0 * 20.0 - 340.0);
    near(vms.stranded_cpu_s, 220.0);
    assert_eq!(vms.policy, "static-vm");
    let slow = Setup { model: Model { vm_start_us: 3_000_000, ..setup.model }, ..setup };
    near(static_vms(&jobs, &slow, &mut |_| ()).makespan_s, 26.0);
}

#[test]
fn a_tenant_at_its_quota_waits_and_holds_up_nobody_else() {
    let jobs = jobs(
        "a,0,openmp,2,20,greedy,,,,,\nb,0,openmp,2,20,greedy,,,,,\nc,0,openmp,2,20,other,,,,,\n\
         d,0,openmp,3,30,greedy,,,,,\n",
    );
    let mut setup = setup("1x4", 1);
    let quota = Quota { cpu: Some(Cpu(2000)), ..Quota::default() };
    setup.quotas.tenants.insert("greedy".into(), quota);

    let run = cells(&jobs, &setup, "binpack");

    near(run.makespan_s, 20.0);
    near(run.wait.mean_s, 10.0 / 3.0);
    assert_eq!((run.finished, run.refused), (3, 1));
    let refusal = "`d`: tenant `greedy` may have `2` CPUs and uses `0`: `3` more are asked for";
    assert_eq!(run.first_refusal.unwrap(), refusal);
}

#[test]
fn what_fits_nowhere_is_refused_and_the_rest_goes_on() {
    let jobs =
        jobs("wide,0,openmp,9,9,t,,,,,\nfine,0,single,1,9,t,,,,,\nfat,0,mpi,2,2,t,,,99999,,\n");
    let setup = setup("2x8", 1);

    for run in [cells(&jobs, &setup, "locality"), static_vms(&jobs, &setup, &mut |_| ())] {
        assert_eq!((run.finished, run.refused), (1, 2), "{run:?}");
        let reason = "`wide`: no host can ever take a rank: `host-1` has `8` CPUs, `9` are needed";
        assert_eq!(run.first_refusal.unwrap(), reason);
    }
    let nothing = cells(&[], &setup, "locality");
    assert_eq!((nothing.finished, nothing.makespan_s), (0, 0.0));
}

#[test]
fn made_up_jobs_are_the_same_for_a_seed_and_offer_the_load() {
    let make = |seed| Synthetic { jobs: 20_000, seed, load: 0.8, cpus: 16, cpus_all: 512 }.jobs();
    let jobs = make(7);

    assert_eq!(jobs, make(7));
    assert_ne!(jobs, make(8));
    let work: f64 = jobs.iter().map(|job| job.work_cpu_s).sum();
    let last_s = jobs.last().unwrap().arrival_us as f64 / 1e6;
    assert!((work / (last_s * 512.0) - 0.8).abs() < 0.03, "{}", work / last_s / 512.0);
    assert!(jobs.is_sorted_by_key(|job| job.arrival_us));
    assert!(jobs.iter().all(|job| job.demand().check().is_ok()));
    let count = |kind| jobs.iter().filter(|job| job.kind == kind).count();
    assert!(
        (7600..8400).contains(&count(Kind::Mpi)) && (3600..4400).contains(&count(Kind::Single))
    );
}

#[test]
fn the_same_jobs_give_the_same_report_and_no_work_is_lost() {
    let setup = setup("16x8", 2);
    let mut jobs =
        Synthetic { jobs: 1500, seed: 3, load: 1.1, cpus: 8, cpus_all: setup.cpus_all() }.jobs();
    for job in &mut jobs {
        job.communication = 0.0;
    }
    let work: f64 = jobs.iter().map(|job| job.work_cpu_s).sum();
    let backfill = Setup { backfill: 8, ..setup.clone() };

    for list in ["binpack", "spread,elastic", "locality,compaction", "locality,compaction,elastic"]
    {
        for setup in [&setup, &backfill] {
            let run = cells(&jobs, setup, list);
            assert_eq!(run, cells(&jobs, setup, list));
            assert_eq!((run.finished, run.refused), (jobs.len(), 0), "{list}");
            let used = 128.0 * run.makespan_s - run.idle_cpu_s;
            let pauses = run.pause_s * 32.0;
            assert!(
                used >= work * 0.999_999 && used <= work * 1.000_001 + pauses,
                "{list}: {run:?}"
            );
        }
    }
    let vms = static_vms(&jobs, &setup, &mut |_| ());
    near((128.0 * vms.makespan_s - vms.idle_cpu_s) / work, 1.0);
}

#[test]
fn progress_is_told_up_to_the_end() {
    let setup = setup("64x8", 1);
    let jobs = Synthetic { jobs: 10_000, seed: 1, load: 0.5, cpus: 8, cpus_all: 512 }.jobs();
    let mut told = Vec::new();

    static_vms(&jobs, &setup, &mut |progress| told.push(progress.done));

    assert_eq!(told.last(), Some(&10_000));
    assert!(told.len() > 1 && told.is_sorted(), "{told:?}");
}

#[test]
fn shapes_of_hosts_are_read() {
    let setup = setup("10x16", 3);
    assert_eq!((setup.hosts, setup.cpus, setup.cpus_all()), (10, 16, 160));
    let cluster = setup.cluster();
    assert_eq!(cluster.sites().len(), 3);
    assert_eq!(cluster.hosts()[0].capacity.memory, Bytes(64 << 30));
    for wrong in ["", "x", "4", "4x", "x4", "-1x4", "+1x4", "0x4", "4x0", "4x4x4", "9999999999x1"] {
        assert!(matches!(Setup::parse(wrong, 1), Err(SetupError::Shape(_))), "{wrong}");
    }
    assert!(matches!(Setup::parse("2000000x1", 1), Err(SetupError::TooLarge { .. })));
    assert!(matches!(Setup::parse("2x4", 3), Err(SetupError::Sites { .. })));
}

#[test]
fn columns_may_come_in_any_order_and_most_may_be_left_out() {
    let text = "\u{feff}kind, cpus ,work_cpu_s,job,arrival_s\r\n\r\nmpi,4,1e3,b,0.5\r\nsingle,1,2.5,a,0\r\n";

    let jobs = read_trace(text.as_bytes()).unwrap();

    assert_eq!(jobs.len(), 2);
    let job = &jobs[0];
    assert_eq!((job.name.as_str(), &*job.tenant, job.arrival_us), ("b", "default", 500_000));
    assert_eq!((job.kind, job.cpus, job.cpus_min, job.cpus_max), (Kind::Mpi, 4, 4, 4));
    assert_eq!((job.work_cpu_s, job.serial_fraction, job.communication), (1000.0, 0.0, 1.0));
}

#[test]
fn a_wrong_file_is_refused_with_line_and_column() {
    let error = |text: &str| read_trace(text.as_bytes()).unwrap_err().to_string();
    let line = |line: &str| error(&format!("{HEADER}good,0,mpi,2,1,,,,,,\n{line}\n"));
    let cases = [
        (
            "a,0,mpi,-3,1,,,,,,",
            "line 3, column `cpus`: `-3` is not a whole number from 1 to 1000000",
        ),
        ("a,0,mpi,0,1,,,,,,", "line 3, column `cpus`: `0` is not a whole number from 1 to 1000000"),
        ("a,0,mpi,,1,,,,,,", "line 3, column `cpus`: `` is not a whole number from 1 to 1000000"),
        (
            "a,0,gpu,2,1,,,,,,",
            "line 3, column `kind`: `gpu` is not a kind: write mpi, openmp or single",
        ),
        (
            "a,-1,mpi,2,1,,,,,,",
            "line 3, column `arrival_s`: `-1` is not a number of seconds from 0 to 1000000000",
        ),
        (
            "a,0,mpi,2,NaN,,,,,,",
            "line 3, column `work_cpu_s`: `NaN` is not a number of seconds from 0.000001 to 1000000000",
        ),
        (
            "a,0,mpi,2,0,,,,,,",
            "line 3, column `work_cpu_s`: `0` is not a number of seconds from 0.000001 to 1000000000",
        ),
        (
            "a,0,mpi,2,1e999,,,,,,",
            "line 3, column `work_cpu_s`: `1e999` is not a number of seconds from 0.000001 to 1000000000",
        ),
        ("a,0,openmp,2,1,,3,,,,", "line 3, column `min_cpus`: `3` is not at most `cpus`"),
        ("a,0,openmp,2,1,,,1,,,", "line 3, column `max_cpus`: `1` is not at least `cpus`"),
        (
            "a,0,mpi,2,1,,1,,,,",
            "line 3, column `min_cpus`: `1` is not equal to `cpus`: only openmp jobs vary",
        ),
        (
            "a,0,single,2,1,,,,,,",
            "line 3, column `cpus`: `2` is not 1, as a job of kind single has",
        ),
        (
            "a,0,mpi,2,1,,,,0x1,,",
            "line 3, column `memory_mib`: `0x1` is not a whole number of MiB from 0 to 1000000000",
        ),
        (
            "a,0,mpi,2,1,,,,,1.5,",
            "line 3, column `serial_fraction`: `1.5` is not a number from 0 to 1",
        ),
        (
            "a,0,mpi,2,1,,,,,,1000",
            "line 3, column `communication`: `1000` is not a number from 0 to 100",
        ),
        (
            "a b,0,mpi,2,1,,,,,,",
            "line 3, column `job`: `a b` is not a name: 1 to 128 letters, digits, dashes, dots and underscores",
        ),
        (
            "a,0,mpi,2,1,\u{1b}[31m,,,,,",
            "line 3, column `tenant`: `\u{fffd}[31m` is not a name: 1 to 128 letters, digits, dashes, dots and underscores",
        ),
        ("good,0,mpi,2,1,,,,,,", "line 3, column `job`: job `good` is in the file twice"),
        ("a,0,mpi", "line 3: the line has 3 values, the header 11"),
    ];

    for (text, expected) in cases {
        assert_eq!(line(text), expected);
    }
    assert!(error("").starts_with("line 1: the file is empty"));
    assert!(
        error("job,arrival_s,kind,cpus\n")
            .starts_with("line 1, column `work_cpu_s`: the header lacks it")
    );
    assert!(
        error("job,colour\n").starts_with("line 1: there is no column `colour`: known are job, ")
    );
    assert_eq!(error("job,job\n"), "line 1, column `job`: the header has it twice");
    assert_eq!(line(&"x".repeat(5000)), "line 3: the line is longer than 4096 bytes");
    let bytes = [HEADER.as_bytes(), b"\xff\xfe"].concat();
    assert_eq!(read_trace(&bytes).unwrap_err().to_string(), "line 2: the line is not UTF-8");
}

proptest! {
    #[test]
    fn any_bytes_are_jobs_that_can_be_simulated_or_an_error(
        lines in prop::collection::vec("[a-c0-9mpi,.e-]{0,24}", 0..6),
        values in prop::collection::vec(
            (0..9_u32, "mpi|openmp|single", 1..9_u32, "[0-9]{1,9}(\\.[0-9])?", 0..3_u32), 0..8),
    ) {
        let _ = read_trace(lines.join("\n").as_bytes());
        let _ = read_trace(format!("{HEADER}{}", lines.join("\n")).as_bytes());
        let rows = values.iter().zip(0..).map(|((arrival, kind, cpus, work, more), number)| {
            let most = if kind == "openmp" { cpus + more } else { *cpus };
            format!("j{number},{arrival},{kind},{cpus},{work},,,{most},64,,\n")
        });
        if let Ok(jobs) = read_trace(format!("{HEADER}{}", rows.collect::<String>()).as_bytes()) {
            let run = cells(&jobs, &setup("3x4", 2), "locality,compaction,elastic");
            prop_assert_eq!(run.finished + run.refused, jobs.len());
        }
    }
}
