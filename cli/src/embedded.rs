//! Files that come with the binary, used where no folder is given.

use std::io;
use std::path::Path;

macro_rules! templates {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../templates/", $name)))),*]
    };
}

/// File name and text of every template in `templates/`.
pub(crate) const TEMPLATES: &[(&str, &str)] = templates![
    "docs-update.workflow.yaml",
    "feature.workflow.yaml",
    "hotfix.workflow.yaml",
    "infrastructure.workflow.yaml",
    "pr-deployment.workflow.yaml",
];

/// The agents that go with the templates: models.
pub(crate) const AGENTS: &str = include_str!("../../templates/agents.yaml");

/// What [`AGENTS`] names.
const AGENT_FILES: &[(&str, &str)] = templates![
    "prompts/cicd.md",
    "prompts/code-review.md",
    "prompts/documentation.md",
    "prompts/feature-dev.md",
    "prompts/infrastructure.md",
    "prompts/supervisor.md",
];

/// A file beside [`AGENTS`], as if it were on disk.
pub(crate) fn read(path: &Path) -> io::Result<String> {
    let found = AGENT_FILES.iter().find(|(name, _)| path == Path::new(name));
    found.map(|(_, text)| (*text).to_owned()).ok_or_else(|| io::ErrorKind::NotFound.into())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_template_is_embedded() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../templates");
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".workflow.yaml") {
                assert!(TEMPLATES.iter().any(|(file, _)| *file == name), "{name} is not embedded");
            }
        }
    }
}
