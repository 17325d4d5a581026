//! `sluice prompts`: whether every agent's prompt leaves room for its work.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Value, json};
use sluice_worker::{AgentsFile, Prompt, Source};

use crate::args::{Global, flag};
use crate::config::key;
use crate::embedded;
use crate::error::CliError;
use crate::output::{self, Format};
use crate::tokens::{BUDGET, Encoding, grouped, percent};

/// From here on a prompt is close to its budget.
const NEAR_PERCENT: usize = 80;

/// Arguments of `sluice prompts`.
#[derive(Debug, clap::Args)]
pub(crate) struct PromptsArgs {
    #[command(subcommand)]
    command: PromptsCommand,
}

#[derive(Debug, Subcommand)]
enum PromptsCommand {
    /// Check that every agent's prompt keeps to its budget; needs no server
    Validate(CountArgs),
    /// Count the tokens of every file that a prompt is made of; needs no server
    Count(CountArgs),
}

#[derive(Debug, clap::Args)]
struct CountArgs {
    /// File that describes the agents [env: SLUICE_AGENTS_FILE] [default: the one that comes with the binary]
    #[arg(long, value_name = "FILE")]
    agents: Option<String>,
    /// A workflow's context, which an agent gets as well; counted for each
    #[arg(long, value_name = "FILE")]
    context_file: Option<PathBuf>,
    /// Vocabulary to count with
    #[arg(long, value_enum, value_name = "NAME", default_value = "o200k_base")]
    encoding: Encoding,
    /// Say which vocabulary counts
    #[arg(short, long)]
    verbose: bool,
}

pub(crate) fn run(global: &Global, args: &PromptsArgs) -> Result<(), CliError> {
    let (PromptsCommand::Validate(counting) | PromptsCommand::Count(counting)) = &args.command;
    let counted = count(global, counting)?;
    let format = global.format(Format::Text);
    if format == Format::Json {
        output::json(&described(counting.encoding, &counted));
    } else if counting.verbose {
        output::line(format!("Vocabulary: {}", counting.encoding.name()));
    }
    match (&args.command, format) {
        (PromptsCommand::Validate(_), Format::Text) => show_verdicts(&counted),
        (PromptsCommand::Count(_), Format::Text) => show_files(&counted),
        (_, Format::Json) => {}
    }
    let broken = match args.command {
        PromptsCommand::Validate(_) => counted.iter().filter(|agent| !agent.is_valid()).count(),
        PromptsCommand::Count(_) => {
            counted.iter().filter(|agent| agent.missing().is_some()).count()
        }
    };
    match broken {
        0 => Ok(()),
        _ => Err(CliError::Failed(format!("{broken} of {} prompts cannot be used", counted.len()))),
    }
}

/// An agent's prompt, each file with its tokens or why it has none.
struct Counted {
    agent: String,
    files: Vec<(String, Result<usize, String>)>,
}

impl Counted {
    fn tokens(&self) -> usize {
        self.files.iter().filter_map(|(_, tokens)| tokens.as_ref().ok()).sum()
    }

    fn missing(&self) -> Option<(&str, &str)> {
        self.files
            .iter()
            .find_map(|(path, tokens)| Some((path.as_str(), tokens.as_ref().err()?.as_str())))
    }

    fn is_valid(&self) -> bool {
        self.missing().is_none() && self.tokens() <= BUDGET
    }

    fn mark(&self) -> &'static str {
        match () {
            () if !self.is_valid() => "✗",
            () if self.tokens() * 100 > BUDGET * NEAR_PERCENT => "⚠",
            () => "✓",
        }
    }
}

fn count(global: &Global, args: &CountArgs) -> Result<Vec<Counted>, CliError> {
    let config = super::load(global, flag(key::AGENTS_FILE, "--agents", args.agents.as_ref()))?;
    let path = config.path(key::AGENTS_FILE);
    let prompts = match &path {
        Some(path) => AgentsFile::load_prompts(path)?,
        None => embedded_prompts()?,
    };
    if prompts.is_empty() {
        let file = path.map_or_else(|| "the agents".to_owned(), |path| path.display().to_string());
        return Err(CliError::Failed(format!(
            "{file}: no agent is a model, so there is no prompt to check"
        )));
    }
    let context =
        args.context_file.as_deref().map(|path| count_context(path, args.encoding)).transpose()?;
    let counted = |prompt: Prompt| {
        let files = prompt.files.into_iter().map(|file| {
            let tokens = file.text.map(|text| args.encoding.count(&text));
            (file.path, tokens.map_err(|error| error.to_string()))
        });
        Counted { agent: prompt.agent.to_string(), files: files.chain(context.clone()).collect() }
    };
    Ok(prompts.into_iter().map(counted).collect())
}

fn embedded_prompts() -> Result<Vec<Prompt>, CliError> {
    let source = Source {
        text: embedded::AGENTS,
        file: "agents.yaml",
        base: Path::new(""),
        env: &|name| std::env::var(name).ok(),
        read: &embedded::read,
    };
    Ok(AgentsFile::prompts(&source)?)
}

fn count_context(
    path: &Path,
    encoding: Encoding,
) -> Result<(String, Result<usize, String>), CliError> {
    let text = std::fs::read_to_string(path).map_err(CliError::io("read", path))?;
    Ok((path.display().to_string(), Ok(encoding.count(&text))))
}

fn show_verdicts(counted: &[Counted]) {
    for agent in counted {
        let verdict = match agent.missing() {
            Some((path, reason)) => format!("{path}: {reason}"),
            None => {
                let tokens = agent.tokens();
                format!("{} tokens ({}% of 8K budget)", grouped(tokens), percent(tokens))
            }
        };
        output::line(format!(
            "Validating {} prompt... {} {verdict}",
            agent.agent,
            output::mark(agent.mark())
        ));
    }
    if counted.iter().all(Counted::is_valid) {
        output::line(format!("\nAll prompts valid {}", output::mark("✓")));
    }
}

fn show_files(counted: &[Counted]) {
    let rows = counted.iter().flat_map(|agent| {
        agent.files.iter().map(|(path, tokens)| {
            let tokens = tokens.as_ref().map_or_else(Clone::clone, |tokens| grouped(*tokens));
            [agent.agent.clone(), path.clone(), tokens]
        })
    });
    output::table(["AGENT", "FILE", "TOKENS"], &rows.collect::<Vec<_>>());
}

fn described(encoding: Encoding, counted: &[Counted]) -> Value {
    let file = |(path, tokens): &(String, Result<usize, String>)| match tokens {
        Ok(tokens) => json!({"path": path, "tokens": tokens}),
        Err(error) => json!({"path": path, "error": error}),
    };
    let agent = |agent: &Counted| {
        json!({
            "agent": agent.agent,
            "tokens": agent.tokens(),
            "percent": percent(agent.tokens()),
            "valid": agent.is_valid(),
            "files": agent.files.iter().map(file).collect::<Vec<_>>(),
        })
    };
    json!({
        "encoding": encoding.name(),
        "budget": BUDGET,
        "valid": counted.iter().all(Counted::is_valid),
        "agents": counted.iter().map(agent).collect::<Vec<_>>(),
    })
}
