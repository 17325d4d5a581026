//! `sluice template`: what can be run, and whether a file could be.

mod graph;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Value, json};
use sluice_engine::template::{self, Finding, Loaded, Severity};

use crate::args::Global;
use crate::error::CliError;
use crate::output::{self, Format};

/// Arguments of `sluice template`.
#[derive(Debug, clap::Args)]
pub(crate) struct TemplateArgs {
    #[command(subcommand)]
    command: TemplateCommand,
}

#[derive(Debug, Subcommand)]
enum TemplateCommand {
    /// List the templates that the coordinator can run
    List,
    /// Check template files; needs no server
    Validate {
        /// The files; of a folder, those that end in .workflow.yaml
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Draw a template; needs no server
    Graph(graph::GraphArgs),
    /// Print the JSON Schema of templates, for editors
    Schema,
}

pub(crate) async fn run(global: &Global, args: TemplateArgs) -> Result<(), CliError> {
    match args.command {
        TemplateCommand::List => list(global).await,
        TemplateCommand::Validate { files } => validate(global, &files),
        TemplateCommand::Graph(args) => graph::run(global, &args),
        TemplateCommand::Schema => {
            output::json(&template::schema());
            Ok(())
        }
    }
}

async fn list(global: &Global) -> Result<(), CliError> {
    let answer: Value = super::client(global)?.get(&["workflow", "templates"], &[]).await?;
    if global.format(Format::Text) == Format::Json {
        output::json(&answer);
        return Ok(());
    }
    for found in answer["templates"].as_array().into_iter().flatten() {
        let text = |field: &str| found[field].as_str().unwrap_or_default();
        let broken =
            if found["valid"] == false { " (invalid, see `sluice template validate`)" } else { "" };
        output::line(format!("{} - {}{broken}", text("template_name"), text("description")));
    }
    Ok(())
}

/// The templates of a folder, by name; of a file, itself.
fn templates_at(path: &Path) -> Result<Vec<PathBuf>, CliError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = std::fs::read_dir(path).map_err(CliError::io("read", path))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut paths: Vec<PathBuf> =
        paths.collect::<Result<_, _>>().map_err(CliError::io("read", path))?;
    paths.retain(|path| path.to_string_lossy().ends_with(".workflow.yaml"));
    paths.sort();
    if paths.is_empty() {
        return Err(CliError::Failed(format!(
            "{} has no file that ends in .workflow.yaml",
            path.display()
        )));
    }
    Ok(paths)
}

fn validate(global: &Global, files: &[PathBuf]) -> Result<(), CliError> {
    let files: Vec<PathBuf> =
        files.iter().map(|path| templates_at(path)).collect::<Result<Vec<_>, _>>()?.concat();
    let loaded = files.iter().map(|path| load(path).map(|loaded| (path, loaded)));
    let loaded: Vec<_> = loaded.collect::<Result<_, _>>()?;
    match global.format(Format::Text) {
        Format::Json => output::json(
            &loaded.iter().map(|(path, loaded)| described(path, loaded)).collect::<Vec<_>>(),
        ),
        Format::Text => loaded.iter().for_each(|(path, loaded)| show(path, loaded)),
    }
    let broken = loaded.iter().filter(|(_, loaded)| loaded.template.is_none()).count();
    if broken == 0 {
        Ok(())
    } else {
        Err(CliError::Failed(format!("{broken} of {} files cannot be run", files.len())))
    }
}

/// Reads and checks one file.
pub(super) fn load(path: &Path) -> Result<Loaded, CliError> {
    let text = std::fs::read_to_string(path).map_err(CliError::io("read", path))?;
    Ok(template::load(&path.display().to_string(), &text))
}

fn described(path: &Path, loaded: &Loaded) -> Value {
    json!({"file": path.display().to_string(), "valid": loaded.template.is_some(), "findings": loaded.findings})
}

fn show(path: &Path, loaded: &Loaded) {
    loaded.findings.iter().for_each(|finding| output::line(described_finding(finding)));
    if let Some(template) = &loaded.template {
        output::line(format!("{}: valid, {} steps", path.display(), template.steps.len()));
    }
}

fn described_finding(finding: &Finding) -> String {
    let level = if finding.severity == Severity::Error { "error" } else { "warning" };
    let (at, message) = (finding.at, &finding.message);
    let nearest = finding.nearest.as_ref().map(|name| format!(", did you mean '{name}'?"));
    let nearest = nearest.unwrap_or_default();
    format!("{}:{}:{}: {level}: {message}{nearest}", finding.file, at.line, at.column)
}
