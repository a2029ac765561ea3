//! `cloudskin model`: from recorded telemetry to a version in production, and back.

use crate::{Run, command, finish};
use std::{fmt::Write, path::Path};

/// Three hours of two sites, ten seconds apart, with bursts that come every twenty minutes.
fn trace() -> String {
    let mut text = "timestamp,site,latency_ms,cpu\n".to_owned();
    for at in 0..1080_u32 {
        for (site, name) in ["edge", "cloud"].iter().enumerate() {
            let burst = if (at + 30 * site as u32) % 120 < 20 { 60 } else { 0 };
            let latency = 60 + burst + at * 7919 % 13;
            writeln!(text, "{},{name},{latency},{}.5", 1_700_000_000 + at * 10, 1 + burst / 20)
                .unwrap();
        }
    }
    text
}

async fn run(home: &Path, words: &str) -> Run {
    finish(command(home), words, "").await
}

fn json(run: Run) -> serde_json::Value {
    serde_json::from_str(&run.ok()).unwrap()
}

#[tokio::test]
async fn a_model_goes_from_telemetry_to_production_and_back() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("a.csv"), trace()).unwrap();
    let cloudskin = async |words: &str| run(home.path(), &format!("model {words}")).await;
    let train = "--data a.csv --target latency --horizon 5m";

    let text = cloudskin(&format!("train --kind gbm {train}")).await.ok();
    assert!(
        text.contains("latency/v1") && text.contains("80 % HOLDS") && text.contains("MiB"),
        "{text}"
    );
    assert!(text.contains("% of the naive forecast's"), "{text}");
    let second = json(cloudskin(&format!("train --kind ridge {train} --search 3 -o json")).await);
    assert_eq!((&second["id"], &second["made"]["searched"]), (&2.into(), &3.into()));
    let naive = json(cloudskin(&format!("train --kind naive {train} -o json")).await);
    assert!(naive["score"]["rmse"].as_f64() > second["score"]["rmse"].as_f64(), "{naive} {second}");

    cloudskin("promote latency/2").await.ok();
    let refused = cloudskin("promote latency/3").await;
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(refused.err.contains("worse by more than"), "{refused:?}");
    cloudskin("promote latency/3 --force").await.ok();
    assert!(cloudskin("rollback latency").await.ok().contains("latency/v2 is in production again"));
    let list = json(cloudskin("ls -o json").await);
    let stages: Vec<_> =
        list.as_array().unwrap().iter().map(|one| one["stage"].as_str().unwrap()).collect();
    assert_eq!(stages, ["candidate", "production", "retired"]);
    assert!(cloudskin("show latency").await.ok().contains("latency/v2"));

    let said = json(cloudskin("predict latency --data a.csv -o json").await);
    let (one, reason) = (&said[0]["prediction"], &said[0]["reasons"][0]);
    assert!(one["low"].as_f64() <= one["value"].as_f64() && reason["adds"].is_number(), "{said}");
    let tested = cloudskin("evaluate latency/1 latency/2 --data a.csv").await.ok();
    assert!(tested.contains("latency/v1") && tested.contains("latency/v2"), "{tested}");

    // Limits are played on what the model has not seen, and on nothing else.
    cloudskin("train --kind ridge --data a.csv --target cpu-max --horizon 5m").await.ok();
    assert!(cloudskin("rightsize cpu-max --data a.csv").await.ok().contains("forecast"));
    let known = cloudskin("rightsize cpu-max --data a.csv --test-share 0.9").await;
    assert_eq!(known.code, 2, "{known:?}");
    assert!(known.err.contains("was trained on some of this"), "{known:?}");

    cloudskin("export latency/1 gbm.onnx").await.ok();
    let import = "import gbm.onnx --name theirs --target latency --horizon 5m --data a.csv -o json";
    let theirs = json(cloudskin(import).await);
    let (first, theirs) =
        (json(cloudskin("show latency/1 -o json").await), &theirs["score"]["rmse"]);
    let off = theirs.as_f64().unwrap() / first["score"]["rmse"].as_f64().unwrap() - 1.0;
    assert!(off.abs() < 0.01, "{theirs} {first}");
    let exported = cloudskin("export latency/3 mlruns").await.ok();
    let folder = exported.trim().rsplit(' ').next().unwrap();
    assert_eq!(json(cloudskin(&format!("import {folder} -o json")).await)["id"], 4);

    assert_eq!(cloudskin("rm latency/2").await.code, 4);
    cloudskin("rm latency/3").await.ok();
    assert_eq!(cloudskin("show latency/3").await.code, 3);
}

#[tokio::test]
async fn a_model_is_trained_at_sites_that_keep_their_data() {
    let home = tempfile::tempdir().unwrap();
    let whole = trace();
    for site in ["edge", "cloud"] {
        let own =
            |line: &&str| line.contains(&format!(",{site},")) || line.starts_with("timestamp");
        let lines: Vec<&str> = whole.lines().filter(own).collect();
        std::fs::write(home.path().join(format!("{site}.csv")), lines.join("\n")).unwrap();
    }
    let cloudskin = async |words: &str| run(home.path(), &format!("model {words}")).await;
    let federate = "federate --site edge=edge.csv --site cloud=cloud.csv --target latency --horizon 5m --test-share 0.4";

    let made = json(cloudskin(&format!("{federate} --kind ridge -o json")).await);

    let lineage = &made["federated"];
    assert_eq!(lineage["parts"].as_array().unwrap().len(), 2, "{made}");
    assert_eq!(
        (&lineage["refused"], &made["trained"]["sites"]),
        (&serde_json::json!([]), &serde_json::json!(["edge", "cloud"]))
    );
    let second = json(cloudskin(&format!("{federate} --kind polynomial -o json")).await);
    assert_eq!((&made["id"], &second["id"]), (&1.into(), &2.into()));
    cloudskin("promote latency/1").await.ok();
    let said = cloudskin("predict latency --data edge.csv").await.ok();
    assert!(said.contains("edge"), "{said}");
    let text = cloudskin(&format!("{federate} --kind gbm")).await.ok();
    assert!(text.contains("learned at edge (") && text.contains("KiB"), "{text}");
    for (words, code, why) in [
        (
            "federate --site edge=edge.csv --kind ridge --target latency --horizon 5m".to_owned(),
            2,
            "2 are the fewest",
        ),
        (format!("{federate} --kind naive"), 2, "is not trained where the data are"),
        (format!("{federate} --kind ridge --site edge=edge.csv"), 2, "named twice"),
        (format!("{federate} --kind ridge --site moon"), 2, "NAME=PATH"),
    ] {
        let failed = cloudskin(&words).await;
        assert_eq!(failed.code, code, "{words}: {failed:?}");
        assert!(failed.err.contains(why), "{words}: {failed:?}");
    }
}

#[tokio::test]
async fn a_model_of_one_home_is_used_in_another_that_shares_its_catalog() {
    let [here, there, store] = [(), (), ()].map(|()| tempfile::tempdir().unwrap());
    for home in [&here, &there] {
        std::fs::write(home.path().join("a.csv"), trace()).unwrap();
    }
    let at = format!("--catalog geds://lab/models --store {}", store.path().display());
    let train = "train --data a.csv --target latency --horizon 5m";
    let cloudskin = async |home: &tempfile::TempDir, words: &str, at: &str| {
        run(home.path(), &format!("model {words} {at}")).await
    };

    cloudskin(&here, &format!("{train} --kind ridge"), &at).await.ok();
    cloudskin(&here, "promote latency/1", &at).await.ok();

    let list = json(cloudskin(&there, "ls -o json", &at).await);
    assert_eq!((&list[0]["id"], &list[0]["stage"]), (&1.into(), &"production".into()), "{list}");
    let second = json(cloudskin(&there, &format!("{train} --kind naive -o json"), &at).await);
    assert_eq!((&second["id"], &second["parent"]), (&2.into(), &1.into()), "{second}");
    let worse = cloudskin(&here, "promote latency/2", &at).await;
    assert!(worse.code == 4 && worse.err.contains("worse by more than"), "{worse:?}");
    // What is here alone is not what is shared.
    assert_eq!(run(here.path(), "model ls -o json").await.ok().trim(), "[]");

    let away = "--catalog geds://lab/models --store nowhere.sock";
    let said = cloudskin(&there, "predict latency --data a.csv", away).await;
    assert!(said.err.contains("what came last is read"), "{said:?}");
    assert!(said.ok().contains("edge"));
    let refused = cloudskin(&there, "promote latency/2 --force", away).await;
    assert_eq!(refused.code, 6, "{refused:?}");
    let wrong = cloudskin(&there, "ls", "--catalog geds://Lab/models").await;
    assert!(wrong.code == 2 && wrong.err.contains("no place for models"), "{wrong:?}");
}

#[tokio::test]
async fn mistakes_are_told_and_leave_nothing_behind() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("a.csv"), trace()).unwrap();
    std::fs::write(home.path().join("no.onnx"), "no onnx").unwrap();
    let train = "train --data a.csv --target latency --horizon 5m";
    for (words, code, text) in [
        (format!("{train} --kind magic"), 2, "write one of naive"),
        (format!("{train} --kind gbm --horizon 0s"), 2, "cannot be used multiple times"),
        (format!("{train} --kind gbm --name ../up"), 2, "is no name of a model"),
        (format!("{train} --kind gbm --memory-max 1Ki"), 8, "--memory-max"),
        ("train --kind gbm --data a.csv --target p99 --horizon 5m".into(), 2, "is no target"),
        (
            "train --kind gbm --data no.csv --target cpu --horizon 5m".into(),
            3,
            "cannot read `no.csv`",
        ),
        ("show nothing".into(), 3, "there is no model `nothing`"),
        ("promote latency".into(), 2, "say which version"),
        ("import no.onnx".into(), 2, "give --name"),
        (
            "import no.onnx --name a --target latency --horizon 5m --data a.csv".into(),
            2,
            "no ONNX file",
        ),
    ] {
        let failed = run(home.path(), &format!("model {words}")).await;
        assert_eq!(failed.code, code, "{words}: {failed:?}");
        assert!(failed.err.contains(text), "{words}: {failed:?}");
    }
    let list = run(home.path(), "model ls -o json").await.ok();
    assert_eq!(list.trim(), "[]");
}
