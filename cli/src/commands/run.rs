//! `sluice run`: starts a run.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::watch;
use crate::args::Global;
use crate::error::CliError;
use crate::output::{self, Format};

/// Arguments of `sluice run`.
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// Template file name; the suffix .workflow.yaml may be left out
    template: String,
    /// A context value: JSON if it can be read as such, else text; may be repeated
    #[arg(short, long = "context", value_name = "KEY=VALUE", value_parser = pair)]
    context: Vec<(String, Value)>,
    /// JSON file with the whole context, `-` for standard input; --context goes on top
    #[arg(long, value_name = "FILE")]
    context_file: Option<PathBuf>,
    /// Id of your choice for the run
    #[arg(long, value_name = "ID")]
    workflow_id: Option<String>,
    /// Run in whose name this one is started: cancelling that cancels this
    #[arg(long, value_name = "ID")]
    parent: Option<String>,
    /// Makes repeated requests with the same id one
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    /// Follow the run until it ends or waits for a person
    #[arg(long)]
    watch: bool,
}

pub(crate) async fn run(global: &Global, args: RunArgs) -> Result<(), CliError> {
    let client = super::client(global)?;
    let format = global.format(Format::Text);
    let started: Value = client.post(&["workflow", "execute"], &request(&args)?).await?;
    let Some(id) = started["workflow_id"].as_str() else {
        return Err(CliError::Failed(format!("the gateway's answer names no run: {started}")));
    };
    match format {
        Format::Json if args.watch => output::json_line(&started),
        Format::Json => output::json(&started),
        Format::Text => {
            output::line(format!("✓ Workflow started: {id}"));
            output::line(format!("Monitor: {}", client.address(&["workflow", "status", id])));
        }
    }
    if args.watch { watch::follow(&client, id, format).await } else { Ok(()) }
}

fn request(args: &RunArgs) -> Result<Value, CliError> {
    let mut context = match &args.context_file {
        Some(path) => read_context(path)?,
        None => Map::new(),
    };
    context.extend(args.context.iter().cloned());
    let mut request = json!({"template_name": args.template, "context": context});
    let named = [
        ("workflow_id", &args.workflow_id),
        ("parent_workflow_id", &args.parent),
        ("request_id", &args.request_id),
    ];
    for (name, value) in named {
        if let Some(value) = value {
            request[name] = value.as_str().into();
        }
    }
    Ok(request)
}

fn read_context(path: &Path) -> Result<Map<String, Value>, CliError> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text))
    };
    read.map_err(CliError::io("read", path))?;
    let wrong = |error: serde_json::Error| {
        let place = format!("{}:{}:{}", path.display(), error.line(), error.column());
        CliError::Usage(format!("{place}: the context must be one JSON object: {error}"))
    };
    serde_json::from_str(&text).map_err(wrong)
}

fn pair(text: &str) -> Result<(String, Value), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), typed(value))),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

/// JSON where it can be read as such. A number that would be written otherwise is a text: version 1.20 is
/// not version 1.2.
fn typed(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(Value::Number(number)) if number.to_string() != text => text.into(),
        Ok(value) => value,
        Err(_) => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_json_if_they_can_be() {
        let cases = [
            ("pr_number=123", json!(123)),
            ("branch=feature/a=b", json!("feature/a=b")),
            ("urgent=true", json!(true)),
            ("files=[\"a\"]", json!(["a"])),
            ("version=\"1.10\"", json!("1.10")),
            ("note=", json!("")),
            ("version=1.20", json!("1.20")),
            ("ratio=1.25", json!(1.25)),
            ("build=007", json!("007")),
        ];
        for (text, expected) in cases {
            assert_eq!(pair(text).unwrap().1, expected, "{text}");
        }
        assert!(pair("branch").is_err());
        assert!(pair("=x").is_err());
    }
}
