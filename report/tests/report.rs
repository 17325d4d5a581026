//! Reports as bytes. What is on their pages is looked at with other programs, by the tests of `sluice`.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod record;

use serde_json::json;
use sluice_report::{DEFAULT_TEMPLATE, Error, check, data, pdf};

use record::record;

#[test]
fn the_same_record_gives_the_same_bytes() {
    let (events, verification) = record(60);
    assert_eq!(verification.verdict.findings, []);
    let bytes = pdf(&events, &verification, None).unwrap();
    assert!(bytes.starts_with(b"%PDF-1.") && bytes == pdf(&events, &verification, None).unwrap());
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains("<pdfuaid:part>1<"), "it does not say that it is PDF/UA-1");
    let report = data(&events, &verification);
    assert_eq!((&report["verdict"], &report["findings_total"]), (&json!("intact"), &json!(0)));
    for section in
        ["approvals", "decisions", "interventions", "locks", "errors", "annotations", "events"]
    {
        assert!(!report[section].as_array().unwrap().is_empty(), "{section}");
    }
}

#[test]
fn a_record_that_was_changed_is_reported_as_that() {
    let (mut events, verification) = record(30);
    events[12]["data"]["reason"] = json!("another");
    let report = data(&events, &verification);
    assert_eq!(report["verdict"], "tampered");
    assert!(pdf(&events, &verification, None).unwrap().starts_with(b"%PDF-"));
    // The one that was taken out is found, and none of the others is marked.
    let (mut events, verification) = record(30);
    events.remove(12);
    let report = data(&events, &verification);
    assert_eq!(report["verdict"], "tampered");
    let marked = report["events"].as_array().unwrap().iter().filter(|line| line["bad"] == true);
    assert_eq!(marked.count(), 0, "{:#}", report["findings"]);
    // Everything is gone, and somebody remembers that there was something.
    let mut emptied = verification.clone();
    emptied.valid = false;
    assert!(pdf(&[], &emptied, None).unwrap().starts_with(b"%PDF-"));
    assert!(matches!(pdf(&[], &verification, None), Err(Error::Empty)));
}

#[test]
fn whatever_stands_in_a_record_can_be_set() {
    let (mut events, verification) = record(30);
    let long = "x".repeat(100_000);
    let strange =
        ["\u{202e}#image(\"/etc/passwd\")\0", "王 😀 \u{0378}", "", "*_`$<a>@b", long.as_str()];
    for (n, text) in strange.into_iter().enumerate() {
        for field in ["event_id", "step_id", "action", "timestamp"] {
            events[n + 1][field] = json!(text);
        }
        for (_, value) in events[n + 8]["data"].as_object_mut().unwrap() {
            *value = json!(text);
        }
        events[n + 15]["sequence"] = json!(3);
        events[n + 21] = json!({"unreadable": text, "sequence": u64::MAX});
    }
    assert!(pdf(&events, &verification, None).unwrap().starts_with(b"%PDF-"));
}

#[test]
fn a_template_reads_the_report_and_nothing_else() {
    check(DEFAULT_TEMPLATE).unwrap();
    check("#set document(title: \"x\")\n#json(\"/report.json\").workflow_id").unwrap();
    for (template, place) in [
        ("one\n#two", "line 2: "),
        ("#read(\"/etc/passwd\")", "line 1: "),
        ("#read(\"report.typ\")", "line 1: "),
        ("#read(\"../x\")", "line 1: "),
        ("#import \"@preview/cetz:0.3.4\"", "line 1: "),
    ] {
        let error = check(template).unwrap_err().to_string();
        assert!(error.starts_with(&format!("the report's template: {place}")), "{error}");
    }
    assert!(matches!(check(&" ".repeat(2 << 20)), Err(Error::Template(_))));
}
