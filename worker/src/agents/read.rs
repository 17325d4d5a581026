//! From YAML to agents. Every refusal names its place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use reqwest::Url;
use serde::Deserialize;
use serde_saphyr::{Location, Spanned};
use sluice_engine::expr::Text;
use sluice_proto::agents::{AgentCatalogue, DEFAULT_TIMEOUT_MS};
use sluice_proto::ids::AgentName;

use super::duration::Span;
use super::entry::{Agent, Provider, RuntimeSettings, Schema};
use super::error::{AgentsError, unknown};
use super::file::{AgentsFile, Source};

const RUNTIMES: [&str; 4] = ["command", "external", "http", "llm"];
/// Attempts of one agent that one worker runs at the same time where the file does not say.
const DEFAULT_CONCURRENCY: usize = 8;
const MAX_CONCURRENCY: usize = 1_024;
/// Variables that stand for a setting of their own: one that is missing means that no model is
/// configured, which a step that needs one reports, and which is no reason not to start.
const MODEL_SETTINGS: &str = "SLUICE_LLM_";

type Words = Vec<Spanned<String>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFile {
    #[serde(default)]
    workspace_roots: Option<Words>,
    #[serde(default)]
    pub(super) agents: IndexMap<String, Spanned<RawAgent>>,
    #[serde(default)]
    providers: IndexMap<String, Spanned<RawProvider>>,
}

impl RawFile {
    pub(super) fn read(source: &Source<'_>) -> Result<Self, AgentsError> {
        serde_saphyr::from_str(source.text).map_err(|error| AgentsError::yaml(source.file, &error))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawProvider {
    base_url: Spanned<String>,
    api_key: Option<Spanned<String>>,
    model: Option<Spanned<String>>,
}

/// One shape for all runtimes, because a tagged enum would lose the places.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAgent {
    pub(super) runtime: Spanned<String>,
    effects: Option<bool>,
    #[serde(default)]
    idempotent: bool,
    timeout: Option<Span>,
    concurrency: Option<Spanned<usize>>,
    pub(super) prompt: Option<Spanned<String>>,
    pub(super) tools: Option<Spanned<String>>,
    output_schema: Option<Spanned<String>>,
    model: Option<Spanned<String>>,
    provider: Option<Spanned<String>>,
    url: Option<Spanned<String>>,
    argv: Option<Spanned<Words>>,
    workdir: Option<Spanned<String>>,
    env: Option<Spanned<Words>>,
}

pub(super) fn agents_file(source: &Source<'_>) -> Result<AgentsFile, AgentsError> {
    let reader = Reader { source };
    let raw = RawFile::read(source)?;
    let workspace_roots = reader.roots(raw.workspace_roots)?;
    let mut providers = BTreeMap::new();
    for (name, block) in raw.providers {
        if let Some(provider) = reader.provider(block.value)? {
            providers.insert(name, provider);
        }
    }
    let mut agents = IndexMap::new();
    for (name, entry) in raw.agents {
        let place = entry.referenced;
        let name = AgentName::parse(&name).map_err(|e| reader.wrong(place, e))?;
        if name.as_str().starts_with("sluice-") {
            return Err(reader.wrong(
                place,
                format_args!("agent '{name}': names with 'sluice-' in front are reserved"),
            ));
        }
        let agent = reader.agent(name.clone(), entry.value, &workspace_roots)?;
        if let RuntimeSettings::Llm { provider: Some(provider), .. } = &agent.runtime
            && !providers.contains_key(provider)
        {
            let known: Vec<&str> = providers.keys().map(String::as_str).collect();
            return Err(reader.wrong(place, unknown("provider", provider, &known)));
        }
        if agents.insert(name.clone(), agent).is_some() {
            return Err(reader.wrong(
                place,
                format_args!("agent '{name}' is there twice ('-' and '_' are the same)"),
            ));
        }
    }
    Ok(AgentsFile { agents, providers })
}

pub(super) struct Reader<'a> {
    pub(super) source: &'a Source<'a>,
}

impl Reader<'_> {
    pub(super) fn wrong(&self, place: Location, message: impl std::fmt::Display) -> AgentsError {
        AgentsError::at(self.source.file, place, message)
    }

    fn agent(
        &self,
        name: AgentName,
        raw: RawAgent,
        roots: &Arc<[PathBuf]>,
    ) -> Result<Agent, AgentsError> {
        let concurrency = match &raw.concurrency {
            None => DEFAULT_CONCURRENCY,
            Some(given) if (1..=MAX_CONCURRENCY).contains(&given.value) => given.value,
            Some(given) => {
                return Err(self.wrong(
                    given.referenced,
                    format_args!("concurrency goes from 1 to {MAX_CONCURRENCY}"),
                ));
            }
        };
        // An agent that changes things by its name does so unless the file says otherwise.
        let by_convention = AgentCatalogue::default().traits(&name).effects;
        Ok(Agent {
            name,
            effects: raw.effects.unwrap_or(by_convention),
            idempotent: raw.idempotent,
            timeout: raw.timeout.map_or(Duration::from_millis(DEFAULT_TIMEOUT_MS), |span| span.0),
            concurrency,
            runtime: self.runtime(raw, roots)?,
        })
    }

    fn runtime(
        &self,
        raw: RawAgent,
        roots: &Arc<[PathBuf]>,
    ) -> Result<RuntimeSettings, AgentsError> {
        self.no_foreign_keys(&raw)?;
        let place = raw.runtime.referenced;
        let missing = |key: &str| {
            self.wrong(place, format_args!("runtime {} needs '{key}'", raw.runtime.value))
        };
        Ok(match raw.runtime.value.as_str() {
            "llm" => RuntimeSettings::Llm {
                system: self.system(
                    raw.prompt.as_ref().ok_or_else(|| missing("prompt"))?,
                    raw.tools.as_ref(),
                )?,
                output_schema: raw
                    .output_schema
                    .as_ref()
                    .map(|path| self.schema(path))
                    .transpose()?,
                model: raw.model.as_ref().map(|model| self.filled(model)).transpose()?.flatten(),
                provider: raw.provider.map(|provider| provider.value),
            },
            "http" => {
                let url = raw.url.as_ref().ok_or_else(|| missing("url"))?;
                RuntimeSettings::Http { url: self.url(url)?.ok_or_else(|| missing("url"))? }
            }
            "command" => RuntimeSettings::Command {
                argv: self.argv(raw.argv.as_ref().ok_or_else(|| missing("argv"))?)?,
                workdir: raw.workdir.as_ref().map(|workdir| self.workdir(workdir)).transpose()?,
                env: self.names(raw.env)?,
                base: self.source.base.to_owned(),
                roots: Arc::clone(roots),
            },
            "external" => RuntimeSettings::External,
            other => return Err(self.wrong(place, unknown("runtime", other, &RUNTIMES))),
        })
    }

    /// A key of another runtime is a mistake, not a decoration.
    fn no_foreign_keys(&self, raw: &RawAgent) -> Result<(), AgentsError> {
        let keys = [
            ("prompt", "llm", raw.prompt.as_ref().map(|s| s.referenced)),
            ("tools", "llm", raw.tools.as_ref().map(|s| s.referenced)),
            ("output_schema", "llm", raw.output_schema.as_ref().map(|s| s.referenced)),
            ("model", "llm", raw.model.as_ref().map(|s| s.referenced)),
            ("provider", "llm", raw.provider.as_ref().map(|s| s.referenced)),
            ("url", "http", raw.url.as_ref().map(|s| s.referenced)),
            ("argv", "command", raw.argv.as_ref().map(|s| s.referenced)),
            ("workdir", "command", raw.workdir.as_ref().map(|s| s.referenced)),
            ("env", "command", raw.env.as_ref().map(|s| s.referenced)),
        ];
        let runtime = raw.runtime.value.as_str();
        let known = RUNTIMES.contains(&runtime);
        match keys
            .into_iter()
            .find_map(|(key, owner, place)| Some((key, owner, place.filter(|_| owner != runtime)?)))
        {
            Some((key, owner, place)) if known => Err(self.wrong(
                place,
                format_args!("'{key}' belongs to runtime {owner}, this agent's is {runtime}"),
            )),
            _ => Ok(()),
        }
    }

    fn system(
        &self,
        prompt: &Spanned<String>,
        tools: Option<&Spanned<String>>,
    ) -> Result<String, AgentsError> {
        let mut system = self.file(prompt)?;
        if let Some(tools) = tools {
            system.push_str("\n\n");
            system.push_str(&self.file(tools)?);
        }
        Ok(system)
    }

    fn schema(&self, path: &Spanned<String>) -> Result<Schema, AgentsError> {
        let wrong = |error: &dyn std::fmt::Display| {
            self.wrong(path.referenced, format_args!("{}: {error}", path.value))
        };
        let document: serde_json::Value =
            serde_json::from_str(&self.file(path)?).map_err(|e| wrong(&e))?;
        let validator = jsonschema::validator_for(&document).map_err(|e| wrong(&e))?;
        Ok(Schema { document: Arc::new(document), validator: Arc::new(validator) })
    }

    fn file(&self, path: &Spanned<String>) -> Result<String, AgentsError> {
        self.literal(path)?;
        (self.source.read)(&self.source.base.join(&path.value))
            .map_err(|error| self.wrong(path.referenced, format_args!("{}: {error}", path.value)))
    }

    fn argv(&self, argv: &Spanned<Words>) -> Result<Vec<String>, AgentsError> {
        argv.value.iter().try_for_each(|word| self.literal(word))?;
        match argv.value.first() {
            Some(program) if !program.value.is_empty() => {
                Ok(argv.value.iter().map(|w| w.value.clone()).collect())
            }
            _ => Err(self.wrong(argv.referenced, "argv needs a program")),
        }
    }

    fn workdir(&self, workdir: &Spanned<String>) -> Result<Text, AgentsError> {
        if workdir.value.contains("${") {
            return Err(
                self.wrong(workdir.referenced, "'${…}' is not filled in here; use {{ context.… }}")
            );
        }
        Text::parse(&workdir.value).map_err(|error| self.wrong(workdir.referenced, error))
    }

    fn names(&self, names: Option<Spanned<Words>>) -> Result<Vec<String>, AgentsError> {
        let is_name = |name: &str| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        let mut list = Vec::new();
        for name in names.map(|names| names.value).unwrap_or_default() {
            if !is_name(&name.value) {
                let message = format_args!(
                    "'{}' is no variable's name; the child gets the value it has here",
                    name.value
                );
                return Err(self.wrong(name.referenced, message));
            }
            list.push(name.value);
        }
        Ok(list)
    }

    fn provider(&self, raw: RawProvider) -> Result<Option<Provider>, AgentsError> {
        let filled = |text: &Option<Spanned<String>>| match text {
            Some(text) => self.filled(text),
            None => Ok(None),
        };
        let (api_key, model) = (filled(&raw.api_key)?, filled(&raw.model)?);
        // Without its address the block does not exist; who names it is told so.
        let Some(base_url) = self.url(&raw.base_url)? else { return Ok(None) };
        Ok(Some(Provider { base_url, api_key: api_key.map(Into::into), model }))
    }

    fn url(&self, text: &Spanned<String>) -> Result<Option<Url>, AgentsError> {
        let Some(filled) = self.filled(text)? else { return Ok(None) };
        match Url::parse(&filled) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(Some(url)),
            // The text may hold a password by now.
            _ => Err(self.wrong(text.referenced, "not an http:// or https:// address")),
        }
    }

    fn roots(&self, given: Option<Words>) -> Result<Arc<[PathBuf]>, AgentsError> {
        let Some(given) = given else {
            return Ok(Arc::from(vec![self.source.base.to_owned()]));
        };
        let mut roots = Vec::with_capacity(given.len());
        for root in &given {
            self.literal(root)?;
            roots.push(self.source.base.join(Path::new(&root.value)));
        }
        Ok(roots.into())
    }

    /// A text in which nothing is filled in: what looks otherwise would be passed on as it stands.
    pub(super) fn literal(&self, text: &Spanned<String>) -> Result<(), AgentsError> {
        for (mark, hint) in [("${", "in model, url and providers"), ("{{", "in workdir")] {
            if text.value.contains(mark) {
                return Err(
                    self.wrong(text.referenced, format_args!("'{mark}' is filled in only {hint}"))
                );
            }
        }
        Ok(())
    }

    /// Fills in every `${NAME}`; nothing when a setting for models is not set.
    fn filled(&self, text: &Spanned<String>) -> Result<Option<String>, AgentsError> {
        let mut filled = String::new();
        let mut rest = text.value.as_str();
        while let Some((before, tail)) = rest.split_once("${") {
            filled.push_str(before);
            let (name, after) = tail
                .split_once('}')
                .ok_or_else(|| self.wrong(text.referenced, "'${' is never closed"))?;
            match (self.source.env)(name) {
                Some(value) => filled.push_str(&value),
                None if name.starts_with(MODEL_SETTINGS) => return Ok(None),
                None => {
                    return Err(self.wrong(
                        text.referenced,
                        format_args!("environment variable {name} is not set"),
                    ));
                }
            }
            rest = after;
        }
        filled.push_str(rest);
        Ok(Some(filled).filter(|text| !text.trim().is_empty()))
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
