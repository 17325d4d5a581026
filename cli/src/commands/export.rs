//! `sluice export`: a run's whole record as a file.

use std::path::PathBuf;

use clap::ValueEnum;
use serde_json::json;

use crate::args::Global;
use crate::error::CliError;
use crate::output::{self, Format};

/// What the file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FileFormat {
    /// Every event with its signature; `sluice verify` reads it.
    Json,
    /// A table for spreadsheets.
    Csv,
    /// A report to read and to sign.
    Pdf,
}

impl FileFormat {
    /// What the route calls it, and how its files end.
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Pdf => "pdf",
        }
    }
}

/// Arguments of `sluice export`.
#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    /// Id of the run
    id: String,
    /// What the file is
    #[arg(long, value_enum, default_value = "json")]
    format: FileFormat,
    /// Where it goes, `-` for standard output [default: audit_report_ID.FORMAT]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

pub(crate) async fn run(global: &Global, args: ExportArgs) -> Result<(), CliError> {
    let extension = args.format.extension();
    let client = super::client(global)?;
    let path = ["workflow", &args.id, "events", "export"];
    let bytes = client.download(&path, &[("format", extension)]).await?;
    // The gateway has taken it for an id of a run, so it has no separator of paths in it.
    let file = args.file.unwrap_or_else(|| format!("audit_report_{}.{extension}", args.id).into());
    if file.as_os_str() == "-" {
        output::bytes(&bytes);
        return Ok(());
    }
    std::fs::write(&file, &bytes).map_err(CliError::io("write", &file))?;
    match global.format(Format::Text) {
        Format::Json => output::json(&json!({"file": file, "bytes": bytes.len()})),
        Format::Text => output::line(format!("✓ Audit report saved: {}", file.display())),
    }
    Ok(())
}
