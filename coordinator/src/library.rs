//! Templates: by name for new runs, by hash for runs under way.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use sluice_engine::template::{self, Finding, Loaded, Severity, Template};
use sluice_proto::api::{TemplateSummary, ValidateResponse};
use sluice_proto::error::{ApiError, ErrorCode, FieldError};
use sqlx::PgConnection;

use crate::config::TemplateSource;
use crate::store::{StoreError, templates};

const SUFFIX: &str = ".workflow.yaml";
/// Shown first in lists, in this order.
const WELL_KNOWN: [&str; 5] =
    ["pr-deployment", "hotfix", "feature", "docs-update", "infrastructure"];

/// A checked template with its text.
#[derive(Clone, Debug)]
pub(crate) struct Pinned {
    pub(crate) template: Arc<Template>,
    pub(crate) text: Arc<str>,
}

/// Finds templates and remembers what it has parsed.
pub(crate) struct Library {
    source: TemplateSource,
    by_file: Mutex<HashMap<String, (Option<SystemTime>, Pinned)>>,
    /// By file name and hash: two files may hold the same text, and are two templates.
    by_sha256: Mutex<HashMap<(String, String), Arc<Template>>>,
}

/// Templates kept parsed; beyond it the cache starts over.
const MAX_CACHED: usize = 1_000;

impl Library {
    pub(crate) fn new(source: TemplateSource) -> Self {
        Self { source, by_file: Mutex::default(), by_sha256: Mutex::default() }
    }

    /// The template that a new run of this name is pinned to.
    pub(crate) fn find(&self, name: &str) -> Result<Pinned, ApiError> {
        let file = file_name(name)?;
        let changed_at = self.changed_at(&file);
        if let Some((seen, pinned)) = lock(&self.by_file).get(&file)
            && *seen == changed_at
        {
            return Ok(pinned.clone());
        }
        let text = self.read(&file)?.ok_or_else(|| self.unknown(&file))?;
        let Loaded { template, findings } = template::load(&file, &text);
        let template = template.ok_or_else(|| invalid(&file, &findings))?;
        let pinned = Pinned { template: Arc::new(template), text: text.into() };
        self.remember(&pinned.template);
        lock(&self.by_file).insert(file, (changed_at, pinned.clone()));
        Ok(pinned)
    }

    /// The template that a run under way is pinned to.
    pub(crate) async fn pinned(
        &self,
        connection: &mut PgConnection,
        file: &str,
        sha256: &str,
    ) -> Result<Arc<Template>, StoreError> {
        let key = (file.to_owned(), sha256.to_owned());
        if let Some(template) = lock(&self.by_sha256).get(&key) {
            return Ok(Arc::clone(template));
        }
        let unreadable =
            |cause: String| StoreError::Unreadable { what: format!("template {sha256}"), cause };
        let text = templates::find(connection, sha256)
            .await?
            .ok_or_else(|| unreadable("it is not stored".to_owned()))?;
        let Loaded { template, findings } = template::load(file, &text);
        let first = findings.iter().find(|finding| finding.severity == Severity::Error);
        let template = template
            .ok_or_else(|| unreadable(first.map(ToString::to_string).unwrap_or_default()))?;
        if template.sha256 != sha256 {
            return Err(unreadable("its text is not the one it was stored under".to_owned()));
        }
        let template = Arc::new(template);
        self.remember(&template);
        Ok(template)
    }

    fn remember(&self, template: &Arc<Template>) {
        let mut cache = lock(&self.by_sha256);
        if cache.len() >= MAX_CACHED {
            cache.clear();
        }
        let key = (template.file.clone(), template.sha256.clone());
        cache.insert(key, Arc::clone(template));
    }

    /// Every template there is, loadable or not.
    pub(crate) fn list(&self) -> Vec<TemplateSummary> {
        let mut summaries: Vec<TemplateSummary> =
            self.files().iter().map(|file| self.summary(file)).collect();
        summaries.sort_by_key(|summary| {
            let slug = summary.template_name.trim_end_matches(SUFFIX).to_owned();
            let rank = WELL_KNOWN.iter().position(|name| *name == slug);
            (rank.unwrap_or(WELL_KNOWN.len()), slug)
        });
        summaries
    }

    fn summary(&self, file: &str) -> TemplateSummary {
        let text = match self.read(file) {
            Ok(Some(text)) => text,
            Ok(None) => String::new(),
            Err(error) => {
                let findings = vec![error.detail];
                return TemplateSummary {
                    template_name: file.to_owned(),
                    findings,
                    ..Default::default()
                };
            }
        };
        let Loaded { template, findings } = template::load(file, &text);
        let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
        let Some(template) = template else {
            return TemplateSummary {
                template_name: file.to_owned(),
                findings,
                ..Default::default()
            };
        };
        let facts = template::summary(&template);
        TemplateSummary {
            template_name: template.file,
            name: template.name,
            description: template.description,
            version: template.version,
            required_context: template.required_context,
            optional_context: template.optional_context,
            steps_count: facts.steps_count,
            agents_involved: facts.agents_involved.iter().map(ToString::to_string).collect(),
            estimated_duration_minutes: facts.estimated_duration_minutes,
            risk_level: facts.risk_level.as_str().to_owned(),
            valid: true,
            findings,
        }
    }

    fn files(&self) -> Vec<String> {
        match &self.source {
            TemplateSource::Embedded(files) => {
                files.iter().map(|(name, _)| (*name).to_owned()).collect()
            }
            TemplateSource::Dir(dir) => {
                let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
                entries
                    .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
                    .filter(|name| name.ends_with(SUFFIX))
                    .collect()
            }
        }
    }

    fn changed_at(&self, file: &str) -> Option<SystemTime> {
        match &self.source {
            TemplateSource::Embedded(_) => None,
            TemplateSource::Dir(dir) => std::fs::metadata(dir.join(file)).ok()?.modified().ok(),
        }
    }

    fn read(&self, file: &str) -> Result<Option<String>, ApiError> {
        match &self.source {
            TemplateSource::Embedded(files) => {
                Ok(files.iter().find(|(name, _)| *name == file).map(|(_, text)| (*text).to_owned()))
            }
            TemplateSource::Dir(dir) => read_file(&dir.join(file)),
        }
    }

    fn unknown(&self, file: &str) -> ApiError {
        let names: Vec<String> = self.files();
        let known = names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let hint = if names.is_empty() {
            "there are none".to_owned()
        } else {
            format!("there are: {known}")
        };
        ApiError::new(ErrorCode::TemplateNotFound, format!("no template '{file}'; {hint}"))
    }
}

/// Findings about a text that is not stored anywhere.
pub(crate) fn validate(name: &str, text: &str) -> ValidateResponse {
    let Loaded { template, findings } = template::load(name, text);
    ValidateResponse {
        valid: template.is_some(),
        findings: findings.iter().map(ToString::to_string).collect(),
    }
}

/// The file that a name means. A path is refused, whatever it leads to.
fn file_name(name: &str) -> Result<String, ApiError> {
    let shown: String = name.chars().take(80).collect();
    let is_plain = !name.is_empty()
        && name.len() <= 128
        && !name.starts_with('.')
        && !name.contains("..")
        && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ' '));
    if !is_plain {
        return Err(ApiError::new(
            ErrorCode::InvalidTemplateName,
            format!("'{shown}' is not a template name: give the file's name without any path"),
        ));
    }
    Ok(if name.ends_with(SUFFIX) { name.to_owned() } else { format!("{name}{SUFFIX}") })
}

fn read_file(path: &Path) -> Result<Option<String>, ApiError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let detail = format!("template '{file}' cannot be read: {error}");
            Err(ApiError::new(ErrorCode::InvalidTemplate, detail))
        }
    }
}

fn invalid(file: &str, findings: &[Finding]) -> ApiError {
    let errors: Vec<FieldError> = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .map(|finding| FieldError {
            field: format!("{}:{}:{}", finding.file, finding.at.line, finding.at.column),
            message: finding.to_string(),
        })
        .collect();
    let first = errors.first().map(|error| error.message.clone()).unwrap_or_default();
    let detail = match errors.len() {
        1 => format!("template '{file}' has an error: {first}"),
        n => format!("template '{file}' has {n} errors, the first: {first}"),
    };
    ApiError { detail, code: ErrorCode::InvalidTemplate, errors }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What a panicking holder left is a cache either way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_a_path_are_refused() {
        for name in ["../x", "a/b", "..", "", ".hidden", "a\\b", "x\0y", "a..b"] {
            assert_eq!(
                file_name(name).unwrap_err().code,
                ErrorCode::InvalidTemplateName,
                "{name:?}"
            );
        }
        assert_eq!(file_name("hotfix").unwrap(), "hotfix.workflow.yaml");
        assert_eq!(file_name("hotfix.workflow.yaml").unwrap(), "hotfix.workflow.yaml");
    }
}
