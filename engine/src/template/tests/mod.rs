mod edges;
mod findings;
mod loading;
mod properties;
mod queries;
mod schema;

use super::*;

const RELEASE: &str = include_str!("fixtures/release.workflow.yaml");
const INFRASTRUCTURE: &str = include_str!("fixtures/infrastructure.workflow.yaml");
const FIRST_GENERATION: &str = include_str!("fixtures/first-generation.workflow.yaml");
const EVERY_KEY: &str = include_str!("fixtures/every-key.workflow.yaml");

/// The template, which must have nothing wrong with it.
fn loaded(text: &str) -> Template {
    let Loaded { template, findings } = load("t.yaml", text);
    match template {
        Some(template) => template,
        None => panic!("not loaded: {}", shown(&findings).join("\n")),
    }
}

fn shown(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(ToString::to_string).collect()
}

/// A template with these steps.
fn with_steps(steps: &str) -> String {
    format!("name: T\nversion: '1'\ndescription: d\nsteps:\n{steps}")
}
