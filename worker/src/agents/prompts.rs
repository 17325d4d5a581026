//! What the prompts of an `agents.yaml` are made of, file by file.

use std::io;

use serde_saphyr::Spanned;
use sluice_proto::ids::AgentName;

use super::error::AgentsError;
use super::file::Source;
use super::read::{RawFile, Reader};

/// The prompt of one agent that is a model.
#[derive(Debug)]
pub struct Prompt {
    /// Whose.
    pub agent: AgentName,
    /// The prompt itself, then the guides to its tools.
    pub files: Vec<PromptFile>,
}

/// A file that is a part of a prompt.
#[derive(Debug)]
pub struct PromptFile {
    /// As the agents file names it.
    pub path: String,
    /// What is in it; a file that cannot be read does not hide the others.
    pub text: io::Result<String>,
}

/// Reads the prompts of all agents that are models, in the order of the file.
///
/// # Errors
/// The agents file itself is wrong, or an agent that is a model names no prompt.
pub(super) fn prompts(source: &Source<'_>) -> Result<Vec<Prompt>, AgentsError> {
    let reader = Reader { source };
    let raw = RawFile::read(source)?;
    let models = raw.agents.iter().filter(|(_, entry)| entry.value.runtime.value == "llm");
    models
        .map(|(name, entry)| {
            let wrong = |message: String| reader.wrong(entry.referenced, message);
            let agent = AgentName::parse(name).map_err(|error| wrong(error.to_string()))?;
            let prompt = entry.value.prompt.as_ref();
            let prompt = prompt.ok_or_else(|| wrong("runtime llm needs 'prompt'".to_owned()))?;
            let paths = [Some(prompt), entry.value.tools.as_ref()];
            let files = paths.into_iter().flatten().map(|path| file(&reader, path));
            Ok(Prompt { agent, files: files.collect::<Result<_, _>>()? })
        })
        .collect()
}

fn file(reader: &Reader<'_>, path: &Spanned<String>) -> Result<PromptFile, AgentsError> {
    reader.literal(path)?;
    let text = (reader.source.read)(&reader.source.base.join(&path.value));
    Ok(PromptFile { path: path.value.clone(), text })
}
