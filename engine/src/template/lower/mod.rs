//! Turns the tree of a file into a [`Template`].

mod approval;
mod child;
mod fan;
mod gate;
mod message;
mod recovery;
mod step;
mod wait;

use indexmap::IndexMap;
use sha2::{Digest, Sha256};

use crate::yaml::{Kind, Node};

use super::context::{Context, scalar_text};
use super::fields::Fields;
use super::finding::quoted;
use super::keys;
use super::model::{Block, Position, Template};

/// Most steps in one template.
pub(super) const MAX_STEPS: usize = 1000;
/// Longest step id, characters.
const MAX_STEP_ID_CHARS: usize = 64;
/// Part of the ids of messages at the end of a run; within a path it would be taken for one.
const NOTIFY: &str = "notify";

/// Reads the whole file. What comes back is only fit to run if nothing was found wrong.
pub(super) fn lower(cx: &mut Context<'_>, root: &Node, file: &str, text: &str) -> Option<Template> {
    let fields = Fields::open(cx, root, &keys::TEMPLATE, "the template")?;
    fields.review(cx, None);
    outline(cx, &fields);
    let steps = match fields.node("steps") {
        Some(node) if fields.is_list("steps") => block(cx, node),
        _ => {
            // Says what else it is.
            fields.list(cx, "steps");
            IndexMap::new()
        }
    };
    let notifications = message::notifications(cx, &fields);
    let error_handling = recovery::error_handling(cx, &fields);
    let error_recovery = recovery::error_recovery(cx, &fields);
    let lower_case = text.to_ascii_lowercase();
    Some(Template {
        file: file.to_owned(),
        sha256: hex(&Sha256::digest(text)),
        name: fields.text(cx, "name").unwrap_or_default().to_owned(),
        version: recommended(cx, &fields, "version", "1.0"),
        description: recommended(cx, &fields, "description", ""),
        urgent: fields.choice(cx, "priority") == Some("urgent"),
        mentions_production: lower_case.contains("production"),
        mentions_deploy: lower_case.contains("deploy"),
        required_context: owned(fields.texts(cx, "required_context")),
        optional_context: owned(fields.texts(cx, "optional_context")),
        steps,
        error_handling,
        error_recovery,
        notifications,
        on_cancel: fields.target(cx, "on_cancel"),
        deadline_ms: deadline(cx, &fields),
    })
}

fn deadline(cx: &mut Context<'_>, fields: &Fields<'_>) -> Option<u64> {
    let deadline = fields.duration_ms(cx, "deadline");
    if deadline == Some(0) {
        cx.findings.error(fields.value_at("deadline"), "'deadline' must be longer than 0");
    }
    deadline
}

fn recommended(cx: &mut Context<'_>, fields: &Fields<'_>, name: &str, default: &str) -> String {
    if !fields.has(name) {
        cx.findings.warning(fields.at, format!("'{name}' is missing in the template"));
    }
    let text = if name == "version" { fields.verbatim(cx, name) } else { fields.text(cx, name) };
    text.unwrap_or(default).to_owned()
}

fn owned(texts: Vec<(&str, Position)>) -> Vec<String> {
    texts.into_iter().map(|(text, _)| text.to_owned()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Collects the names that edges can lead to, before the first edge is read.
fn outline(cx: &mut Context<'_>, fields: &Fields<'_>) {
    let Some(Kind::List(items)) = fields.node("notifications").map(|node| &node.kind) else {
        return;
    };
    let triggers = items.iter().filter_map(|item| key_text(item, "trigger"));
    cx.targets.triggers = triggers.map(|(trigger, _)| trigger.to_owned()).collect();
}

fn key_text<'n>(node: &'n Node, key: &str) -> Option<(&'n str, Position)> {
    let Kind::Map(entries) = &node.kind else { return None };
    let node = Some(&entries.get(key)?.node).filter(|node| !node.is_null())?;
    scalar_text(node).map(|text| (text, node.at))
}

/// A list of steps, of the file or of a branch.
fn block(cx: &mut Context<'_>, list: &Node) -> Block {
    let Kind::List(nodes) = &list.kind else {
        let message = format!("a branch must be a list of steps, found {}", list.describe());
        cx.findings.error(list.at, message);
        return Block::new();
    };
    if nodes.is_empty() {
        let what = if cx.targets.is_inner() { "branch" } else { "template" };
        cx.findings.error(list.at, format!("a {what} needs at least one step"));
    }
    let mut unique = Vec::new();
    for node in nodes {
        // A step without a usable id is still read, for what else is wrong with it.
        if key_text(node, "id").is_none_or(|(id, at)| claim_id(cx, id, at)) {
            unique.push(node);
        } else {
            cx.incomplete = true;
        }
    }
    let mut steps = Block::new();
    for node in unique {
        cx.steps_read += 1;
        if cx.steps_read > MAX_STEPS {
            if cx.steps_read == MAX_STEPS + 1 {
                let message = format!("a template has at most {MAX_STEPS} steps");
                cx.findings.error(node.at, message);
            }
            break;
        }
        steps.extend(step::step(cx, node).map(|step| (step.id.clone(), step)));
    }
    steps
}

/// False, and an error, if another step has the id already.
fn claim_id(cx: &mut Context<'_>, id: &str, at: Position) -> bool {
    if let Some(Position { line, column }) = cx.targets.get(id) {
        let message = format!("the step id {} is already taken, at {line}:{column}", quoted(id));
        cx.findings.error(at, message);
        return false;
    }
    // Ids are parts of command ids and of paths, where other characters have a meaning.
    if !is_name(id) {
        let message =
            format!("{} is not a step id: use 1 to 64 letters, digits, '-' or '_'", quoted(id));
        cx.findings.error(at, message);
    }
    if cx.targets.is_inner() && id == NOTIFY {
        cx.findings.error(at, format!("a step in a branch cannot be called '{NOTIFY}'"));
    }
    cx.targets.insert(id, at);
    true
}

/// Whether a step, or a branch, can be called so.
fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    !text.is_empty() && text.len() <= MAX_STEP_ID_CHARS && text.chars().all(allowed)
}
