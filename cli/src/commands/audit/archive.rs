//! Old runs on their way into the archive, and archived ones on their way into files.

use std::path::Path;

use serde_json::{Value, json};
use sluice_proto::api::{ArchiveRequest, ArchiveResponse, EndedRun, VerifyResponse};

use super::report::told;
use super::{Audit, COMPRESSED_DAYS, behind, digits};
use crate::error::CliError;
use crate::export_file;
use crate::output;

/// Files of one run on one day.
const MAX_A_DAY: u32 = 100;

impl Audit {
    /// Asks until nothing is left.
    pub(super) async fn archive(&self, days: u32) -> Result<ArchiveResponse, CliError> {
        let requested_by = Some("sluice audit".to_owned());
        let request = json!(ArchiveRequest { older_than_days: days, requested_by });
        let mut moved = ArchiveResponse::default();
        loop {
            let answer: ArchiveResponse =
                self.client.post(&["workflows", "archive"], &request).await?;
            moved.runs += answer.runs;
            moved.events += answer.events;
            if !answer.more {
                return Ok(moved);
            }
            output::note(format!("{} runs archived so far", moved.runs));
        }
    }

    /// How many files stand there for the runs that were archived lately.
    pub(super) async fn compress(&mut self) -> Result<u64, CliError> {
        let (mut after, mut files) = (None, 0);
        loop {
            let page = self.page(COMPRESSED_DAYS, true, after).await?;
            for run in &page.workflows {
                let id = run.workflow_id.to_string();
                let result = self.compress_one(run).await;
                files += u64::from(result.is_ok());
                self.tell(&id, result).await?;
            }
            after = behind(&page);
            if after.is_none() {
                return Ok(files);
            }
        }
    }

    async fn compress_one(&self, run: &EndedRun) -> Result<Value, CliError> {
        let id = run.workflow_id.as_str();
        let found: VerifyResponse = self.client.get(&["workflow", id, "verify"], &[]).await?;
        let path = ["workflow", id, "events", "export"];
        let bytes = self.client.download(&path, &[("format", "json")]).await?;
        let day = digits(&run.archived_at.unwrap_or(run.completed_at).to_string(), false);
        let (_, events) = export_file::parse(id, &bytes)?;
        for n in 1..=MAX_A_DAY {
            let number = if n == 1 { String::new() } else { format!("_{n}") };
            let file = self.folder.join(format!("archived_events_{id}_{day}{number}.json.gz"));
            if !file.exists() {
                let packed = export_file::packed(&bytes).map_err(CliError::io("write", &file))?;
                if export_file::write_new(&file, &packed)? {
                    return Ok(told(&found, json!([file])));
                }
            }
            let (_, written) = export_file::read(&file)?;
            if written == events {
                return Ok(told(&found, json!([file])));
            }
            // It may have been annotated and archived once more since.
            if !events.starts_with(&written) {
                return Err(other(&file));
            }
        }
        Err(CliError::Failed(format!("{id} was archived more than {MAX_A_DAY} times on one day")))
    }
}

fn other(file: &Path) -> CliError {
    CliError::Failed(format!(
        "{} holds another record and was left as it is; look at both with `sluice verify`",
        file.display()
    ))
}
