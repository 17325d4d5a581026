//! `parallel` and `for_each` steps.

use indexmap::IndexMap;

use super::{NOTIFY, block, is_name};
use crate::expr::Payload;
use crate::template::context::Context;
use crate::template::fields::Fields;
use crate::template::finding::quoted;
use crate::template::model::{Block, Fan, FanSource, Join, MAX_BRANCHES};
use crate::template::query::ANY_ITEM;

/// Deepest branch of a branch.
const MAX_DEPTH: usize = 4;

pub(super) fn parallel(cx: &mut Context<'_>, fields: &Fields<'_>, id: &str) -> Fan {
    let nodes = fields.branches(cx, "branches");
    if fields.has("branches") && nodes.is_empty() {
        cx.findings.error(fields.value_at("branches"), "'branches' needs at least one branch");
    }
    let mut branches = IndexMap::new();
    for (name, at, node) in nodes.iter().take(MAX_BRANCHES as usize) {
        if !is_name(name) || *name == NOTIFY {
            let name = quoted(name);
            let message = format!(
                "{name} is not a name for a branch: use 1 to 64 letters, digits, '-' or '_', and not '{NOTIFY}'"
            );
            cx.findings.error(*at, message);
        }
        let steps = inner(cx, fields, id, name, false, |cx| block(cx, node));
        branches.insert((*name).to_owned(), steps);
    }
    let count = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
    if count > MAX_BRANCHES {
        let message = format!("a step has at most {MAX_BRANCHES} branches");
        cx.findings.error(fields.value_at("branches"), message);
    }
    let fan = fan(cx, fields, FanSource::Branches(branches));
    if let Join::Count(needed) = fan.join
        && needed > count
    {
        let message = format!("'join' is {needed}, of {count} branches");
        cx.findings.error(fields.value_at("join"), message);
    }
    fan
}

pub(super) fn for_each(cx: &mut Context<'_>, fields: &Fields<'_>, id: &str) -> Fan {
    let items = fields.items(cx, "items");
    let max_concurrent = fields.integer(cx, "max_concurrent");
    let list = fields.node("steps").filter(|_| fields.is_list("steps"));
    if list.is_none() {
        // Says what else it is.
        fields.list(cx, "steps");
    }
    let steps = list.map(|list| inner(cx, fields, id, ANY_ITEM, true, |cx| block(cx, list)));
    let source = FanSource::Items {
        items: items.unwrap_or_else(|| Payload::List(Vec::new())),
        max_concurrent,
        steps: steps.unwrap_or_default(),
    };
    fan(cx, fields, source)
}

fn fan(cx: &mut Context<'_>, fields: &Fields<'_>, source: FanSource) -> Fan {
    Fan {
        source,
        join: fields.join(cx, "join").unwrap_or(Join::All),
        fail_fast: fields.choice(cx, "on_branch_failure") != Some("collect"),
        on_success: fields.target(cx, "on_success"),
        on_failure: fields.target(cx, "on_failure"),
    }
}

/// Reads steps whose targets resolve among themselves.
fn inner(
    cx: &mut Context<'_>,
    fields: &Fields<'_>,
    fan: &str,
    branch: &str,
    has_item: bool,
    read: impl FnOnce(&mut Context<'_>) -> Block,
) -> Block {
    if cx.targets.depth() + 1 > MAX_DEPTH {
        let message = format!("branches are nested deeper than {MAX_DEPTH} levels");
        cx.findings.error(fields.at, message);
        return Block::new();
    }
    let around = cx.targets.here();
    cx.targets.enter(fan, branch, has_item);
    let steps = read(cx);
    cx.targets.go_to(around);
    steps
}
