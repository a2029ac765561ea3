#![allow(clippy::print_stdout)]
use learning::twin::*;
fn main() {
    let t = std::time::Instant::now();
    let c = Contest::default();
    let r = c.run(&Contender::ALL, &mut |s| eprintln!("{:?} {s}", t.elapsed())).unwrap();
    for s in r.standings {
        println!(
            "{:15} broken {:.0} ({:.0}-{:.0}) by {:.3} ({:.3}-{:.3}) f1 {:.3} p {:.2} r {:.2} moves {:.1} eur {:.2} /reac {:.2} /cloud {:.2} cloud {:.3} bytes {:.3} {}",
            s.policy,
            s.sla_broken_s.value,
            s.sla_broken_s.low,
            s.sla_broken_s.high,
            s.broken_by_reactive.value,
            s.broken_by_reactive.low,
            s.broken_by_reactive.high,
            s.f1.value,
            s.precision,
            s.recall,
            s.migrations,
            s.cost_per_day_eur.value,
            s.cost_by_reactive.value,
            s.cost_by_cloud.value,
            s.cloud_by_cloud.value,
            s.bytes_by_cloud.value,
            s.tuned
        );
    }
}
