//! Events as a table (RFC 4180). Cells that a spreadsheet would take for a formula are written so that it
//! does not.

use std::collections::BTreeSet;

use serde_json::Value;
use serde_json::value::RawValue;

use super::export::value;
use crate::failure::Failure;

/// Columns that are there without any event.
const COLUMNS: [&str; 12] = [
    "action",
    "data",
    "event_id",
    "event_version",
    "key_id",
    "parent_workflow_id",
    "prev_hash",
    "sequence",
    "signature",
    "step_id",
    "timestamp",
    "workflow_id",
];

/// The sorted fields of all events as the header, then a row an event.
pub(super) fn table(events: &[Box<RawValue>]) -> Result<String, Failure> {
    let events = events.iter().map(|event| value(event)).collect::<Result<Vec<Value>, _>>()?;
    let mut columns: BTreeSet<&str> = COLUMNS.into();
    let fields = events.iter().filter_map(Value::as_object).flat_map(|event| event.keys());
    columns.extend(fields.map(String::as_str));
    let header: Vec<String> = columns.iter().map(|column| cell(column)).collect();
    let mut text = header.join(",") + "\r\n";
    for event in &events {
        let row: Vec<String> = columns.iter().map(|column| field(event.get(column))).collect();
        text.push_str(&row.join(","));
        text.push_str("\r\n");
    }
    Ok(text)
}

fn field(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => cell(text),
        // Where lists are separated by `;`, a cell would end there.
        Some(other) => cell(&other.to_string().replace(';', "\\u003b")),
    }
}

/// An apostrophe in front makes a text of what begins like a formula, also behind white space, which
/// spreadsheets drop. Numbers are left alone.
fn cell(text: &str) -> String {
    let begins = text.trim_start().chars().next();
    let is_formula = begins.is_some_and(|c| "=+-@\u{ff1d}\u{ff0b}\u{ff0d}\u{ff20}|%".contains(c))
        || text.starts_with(['\t', '\r', '\n', '\0']);
    let text = match is_formula && text.parse::<f64>().is_err() {
        true => format!("'{text}"),
        false => text.to_owned(),
    };
    match text.contains([',', '"', '\n', '\r', '\'', ' ', '\t', ';']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_events_are_a_header() {
        let header = "action,data,event_id,event_version,key_id,parent_workflow_id,prev_hash,sequence,signature,step_id,timestamp,workflow_id\r\n";
        assert_eq!(table(&[]).unwrap(), header);
    }

    #[test]
    fn what_a_spreadsheet_would_run_is_text() {
        let cases = [
            ("=1+1", "'=1+1"),
            ("+cmd", "'+cmd"),
            ("-2", "-2"),
            ("-2+3", "'-2+3"),
            ("@SUM(A1)", "'@SUM(A1)"),
            (" =1", "\"' =1\""),
            ("\t=1", "\"'\t=1\""),
            ("plain", "plain"),
            ("a,\"b\"\nc", "\"a,\"\"b\"\"\nc\""),
            ("", ""),
        ];
        for (text, expected) in cases {
            let expected = match expected.starts_with('\'') {
                true => format!("\"{expected}\""),
                false => expected.to_owned(),
            };
            assert_eq!(cell(text), expected, "{text}");
        }
    }

    #[test]
    fn a_row_an_event_and_objects_as_json() {
        let event = r#"{"data":{"b":1,"a":"x,y"},"sequence":3,"step_id":null,"action":"notify","zeta":"=2"}"#;
        let event = RawValue::from_string(event.to_owned()).unwrap();
        let table = table(&[event]).unwrap();
        let lines: Vec<&str> = table.split("\r\n").collect();
        assert!(lines[0].ends_with(",workflow_id,zeta"));
        assert_eq!(lines[1], r#"notify,"{""a"":""x,y"",""b"":1}",,,,,,3,,,,,"'=2""#);
    }
}
