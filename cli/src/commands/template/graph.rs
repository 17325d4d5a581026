//! `sluice template graph`: a template as a drawing.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde_json::{Value, json};
use sluice_engine::template::{self, Cause, Loaded, Target, Template};

use crate::args::Global;
use crate::embedded;
use crate::error::CliError;
use crate::graph::{Graph, dot, outcome_words, svg};
use crate::names::nearest;
use crate::output::{self, Format};

const SUFFIX: &str = ".workflow.yaml";

/// Arguments of `sluice template graph`.
#[derive(Debug, clap::Args)]
pub(crate) struct GraphArgs {
    /// A template file, or the name of one that comes with Sluice
    template: String,
    /// How it is drawn [default: as the ending of --out says, else svg]
    #[arg(long, value_enum)]
    format: Option<Drawing>,
    /// Where the drawing goes instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// `--format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Drawing {
    /// Source for Graphviz
    Dot,
    /// A picture for browsers and documents
    Svg,
}

pub(super) fn run(global: &Global, args: &GraphArgs) -> Result<(), CliError> {
    let loaded = find(&args.template)?;
    let Some(template) = loaded.template else {
        let findings = loaded.findings.iter().map(super::described_finding);
        findings.for_each(output::note);
        return Err(CliError::Failed(format!("{} cannot be run", args.template)));
    };
    let text = match (global.format(Format::Text), drawing(args)) {
        (Format::Json, _) => serde_json::to_string_pretty(&edges(&template))
            .map_err(|error| CliError::Failed(error.to_string()))?,
        (Format::Text, Drawing::Dot) => dot::dot(&Graph::of(&template)),
        (Format::Text, Drawing::Svg) => svg::svg(&Graph::of(&template)),
    };
    let Some(path) = &args.out else {
        output::line(text.trim_end());
        return Ok(());
    };
    std::fs::write(path, text).map_err(CliError::io("write", path))?;
    output::note(format!("{} steps drawn in {}", template.steps.len(), path.display()));
    Ok(())
}

/// A file goes before a name; both forms of a name will do.
fn find(name: &str) -> Result<Loaded, CliError> {
    let path = Path::new(name);
    if path.is_file() {
        return super::load(path);
    }
    let short = name.strip_suffix(SUFFIX).unwrap_or(name);
    let known = |(file, _): &&(&str, &str)| file.strip_suffix(SUFFIX) == Some(short);
    if let Some((file, text)) = embedded::TEMPLATES.iter().find(known) {
        return Ok(template::load(file, text));
    }
    let names = embedded::TEMPLATES.iter().filter_map(|(file, _)| file.strip_suffix(SUFFIX));
    let hint = nearest(short, names.clone()).map_or_else(
        || format!("there are {}", names.collect::<Vec<_>>().join(", ")),
        |name| format!("did you mean '{name}'?"),
    );
    Err(CliError::Usage(format!("there is no file and no template '{name}'; {hint}")))
}

fn drawing(args: &GraphArgs) -> Drawing {
    let ending = args.out.as_ref().and_then(|path| path.extension());
    let by_ending = ending.is_some_and(|ending| ending == "dot" || ending == "gv");
    args.format.unwrap_or(if by_ending { Drawing::Dot } else { Drawing::Svg })
}

/// The same for programs, with the keys as they stand in the file.
fn edges(template: &Template) -> Value {
    let edges = template.edges().into_iter().map(|edge| {
        let cause = match edge.cause {
            Cause::Done => "done",
            Cause::Failed => "failed",
            Cause::Resumed => "resumed",
            Cause::Begun => "begun",
        };
        let outcome = match &edge.target {
            Target::Step(_) => None,
            Target::End(end) => Some(outcome_words(end.outcome).replace(' ', "_")),
        };
        json!({
            "step": edge.step,
            "label": edge.label,
            "target": edge.target.name(),
            "cause": cause,
            "outcome": outcome,
        })
    });
    let steps: Vec<&String> = template.all_steps().into_iter().map(|step| &step.path).collect();
    json!({"file": template.file, "steps": steps, "edges": edges.collect::<Vec<_>>()})
}
