//! Files that come with the binary, used where no folder is given.

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
