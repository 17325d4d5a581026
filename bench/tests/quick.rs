//! The benchmark still works. Its numbers are not judged here.

#![cfg(feature = "full")]

use std::process::Command;

use serde_json::Value;

#[test]
fn a_quick_look_fills_every_number() {
    let out = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench");
    // What an aborted look may have left.
    let _ = std::fs::remove_dir_all(&out);
    let bench = Command::new(env!("CARGO_BIN_EXE_sluice-bench"))
        .args(["--quick", "--out"])
        .arg(&out)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&bench.stderr);
    assert!(bench.status.success(), "{said}");
    let report: Value =
        serde_json::from_slice(&std::fs::read(out.join("bench.json")).unwrap()).unwrap();
    for name in ["fsync", "synchronous_commit", "full_page_writes"] {
        assert_eq!(report["machine"]["settings"][name], "on");
    }
    assert_eq!(report["latency"].as_array().unwrap().len(), 3);
    for row in report["latency"].as_array().unwrap() {
        assert!(row["p50_ms"].as_f64().unwrap() > 0.0, "{row}");
        assert!(row["p99_ms"].as_f64().unwrap() >= row["p50_ms"].as_f64().unwrap(), "{row}");
    }
    assert_eq!(report["throughput"].as_array().unwrap().len(), 3);
    for row in report["throughput"].as_array().unwrap() {
        for number in ["runs", "steps_per_second", "wal_bytes", "transactions", "cpu_seconds_sum"] {
            assert!(row[number].as_f64().unwrap() > 0.0, "{number}: {row}");
        }
    }
    assert_eq!(report["recovery"].as_array().unwrap().len(), 2);
    for row in report["recovery"].as_array().unwrap() {
        assert!(row["seconds"].as_f64().unwrap() > 0.0 && row["not_completed"] == 0, "{row}");
    }
    let markdown = std::fs::read_to_string(out.join("bench.md")).unwrap();
    assert!(markdown.contains("| claimed-chain | 50 |"), "{markdown}");
    let left: Vec<_> = std::fs::read_dir(&out)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("data-"))
        .collect();
    assert_eq!(left, Vec::<String>::new(), "data stay behind");
}
