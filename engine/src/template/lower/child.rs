//! `workflow` steps.

use crate::expr::Payload;
use crate::template::context::Context;
use crate::template::fields::Fields;
use crate::template::finding::quoted;
use crate::template::model::{ChildCall, empty_object};

const SUFFIX: &str = ".workflow.yaml";
/// Longest file name of a template, characters.
const MAX_NAME_CHARS: usize = 128;

pub(super) fn child(cx: &mut Context<'_>, fields: &Fields<'_>) -> ChildCall {
    let name = fields.text(cx, "template");
    if name.is_none() && !fields.has("template") {
        fields.missing(cx, "template");
    }
    let template = name.map(file).unwrap_or_default();
    if let Some(name) = name {
        if !is_file(name) {
            let message = format!(
                "{} is not the name of a template: give the file's name without any path or {{{{ }}}}",
                quoted(name)
            );
            cx.findings.error(fields.value_at("template"), message);
        } else if template == cx.file {
            let message = "a workflow that starts itself would never end";
            cx.findings.error(fields.value_at("template"), message);
        }
    }
    ChildCall {
        template,
        context: fields.payload(cx, "context").unwrap_or_else(|| Payload::compile(empty_object())),
        on_success: fields.target(cx, "on_success"),
        on_failure: fields.target(cx, "on_failure"),
    }
}

fn file(name: &str) -> String {
    if name.ends_with(SUFFIX) { name.to_owned() } else { format!("{name}{SUFFIX}") }
}

fn is_file(name: &str) -> bool {
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ' ');
    name.len() <= MAX_NAME_CHARS
        && !name.starts_with('.')
        && !name.contains("..")
        && name.chars().all(allowed)
}
