//! Reports: the verdict on a run's record, and the record in a file.

use std::path::PathBuf;
use std::time::SystemTime;

use serde_json::{Value, json};
use sluice_proto::api::VerifyResponse;
use sluice_proto::timestamp::Timestamp;

use super::{Audit, FileFormat, Named, behind, digits};
use crate::error::CliError;
use crate::export_file;
use crate::output;

/// Longest part of a file name that comes from a template's, characters.
const MAX_TEMPLATE_CHARS: usize = 80;
/// Reports of one run in one second.
const MAX_SAME_NAMES: u32 = 100;
/// How many reports go by without a word on standard error.
const QUIET_REPORTS: u64 = 100;

impl Audit {
    /// Reports one run, which must be there.
    pub(super) async fn report_one(&mut self, id: &str) -> Result<(), CliError> {
        let status: Value = self.client.get(&["workflow", "status", id], &[]).await?;
        let template = status["template_name"].as_str().unwrap_or("workflow").to_owned();
        let reported = self.report(&Named { id: id.to_owned(), template }).await;
        self.tell(id, reported).await
    }

    /// Reports every run that ended in so many days up to now.
    pub(super) async fn report_all(&mut self, days: u32) -> Result<(), CliError> {
        let mut after = None;
        loop {
            let page = self.page(days, false, after).await?;
            for run in &page.workflows {
                let named = Named::from(run);
                let reported = self.report(&named).await;
                self.tell(&named.id, reported).await?;
                if self.done.is_multiple_of(QUIET_REPORTS) {
                    output::note(format!("{} runs reported so far", self.done));
                }
            }
            after = behind(&page);
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// A record that was tampered with is written too: somebody will want to look at it.
    async fn report(&self, run: &Named) -> Result<Value, CliError> {
        let found: VerifyResponse = self.client.get(&["workflow", &run.id, "verify"], &[]).await?;
        let path = ["workflow", &run.id, "events", "export"];
        let mut files = Vec::new();
        for &format in &self.formats {
            let format = fitting(format, &found);
            let extension = format.extension();
            let bytes = self.client.download(&path, &[("format", extension)]).await?;
            files.push(self.write(run, &bytes, extension)?);
        }
        Ok(told(&found, json!(files)))
    }

    /// Under a name of its own, also when a report of the same run was written in the same second.
    fn write(&self, run: &Named, bytes: &[u8], extension: &str) -> Result<PathBuf, CliError> {
        let name = file_name(run, now());
        for n in 1..=MAX_SAME_NAMES {
            let number = if n == 1 { String::new() } else { format!("_{n}") };
            let file = self.folder.join(format!("{name}{number}.{extension}"));
            if export_file::write_new(&file, bytes)? {
                return Ok(file);
            }
        }
        Err(CliError::Failed(format!("there are {MAX_SAME_NAMES} files named {name} already")))
    }
}

/// A record that is too long for a document is written as what it is, rather than not at all.
fn fitting(format: FileFormat, found: &VerifyResponse) -> FileFormat {
    let is_long = found.verdict.events > sluice_report::MAX_EVENTS as u64;
    if format == FileFormat::Pdf && is_long { FileFormat::Json } else { format }
}

/// A verdict with the files that belong to it.
pub(super) fn told(found: &VerifyResponse, files: Value) -> Value {
    json!({
        "workflow_id": found.workflow_id,
        "valid": found.valid,
        "events": found.verdict.events,
        "findings": found.verdict.findings,
        "files": files,
    })
}

/// `audit_report_<template>_<run>_<when>`.
fn file_name(run: &Named, now: Timestamp) -> String {
    let template = run.template.strip_suffix(".workflow.yaml").unwrap_or(&run.template);
    let template: String = template
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' })
        .take(MAX_TEMPLATE_CHARS)
        .collect();
    format!("audit_report_{template}_{}_{}", run.id, digits(&now.to_string(), true))
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use sluice_proto::verify::Verdict;

    use super::*;

    #[test]
    fn what_is_too_long_for_a_document_is_written_as_json() {
        let mut found = VerifyResponse {
            workflow_id: "pr-1".to_owned(),
            valid: true,
            verdict: Verdict { events: sluice_report::MAX_EVENTS as u64, ..Verdict::default() },
            checkpointed: None,
        };
        assert_eq!(fitting(FileFormat::Pdf, &found), FileFormat::Pdf);
        found.verdict.events += 1;
        assert_eq!(fitting(FileFormat::Pdf, &found), FileFormat::Json);
        assert_eq!(fitting(FileFormat::Csv, &found), FileFormat::Csv);
    }

    #[test]
    fn names_hold_no_separators_of_paths() {
        let run = |template: &str| Named { id: "pr-1".into(), template: template.into() };
        let now = Timestamp::parse("2031-03-04T05:06:07.5Z").unwrap();
        for (template, name) in [
            ("pr-deployment.workflow.yaml", "audit_report_pr-deployment_pr-1_20310304_050607"),
            ("../a b", "audit_report_---a-b_pr-1_20310304_050607"),
        ] {
            assert_eq!(file_name(&run(template), now), name);
        }
    }
}
