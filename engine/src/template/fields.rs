//! Typed access to the keys of one mapping. What does not fit is reported, and the rest is read on.

use serde_json::Value;
use sluice_proto::ids::AgentName;

use crate::expr::{Condition, Payload, Text};
use crate::yaml::{Entry, Kind, Map as Entries, Node};

use super::context::{Context, scalar_text};
use super::finding::{Severity, nearest, quoted};
use super::keys::{CHANNELS, Key, Shape, TIERS, Table};
use super::model::{Join, MAX_BRANCHES, Position, Target};
use super::value::{duration, parse_text, payload, scalar_value, text_of};

/// Longest duration: a bit more than a year.
const MAX_DURATION_MS: f64 = 366.0 * 24.0 * 3_600_000.0;

/// A mapping that is read with the help of its table.
pub(super) struct Fields<'n> {
    pub(super) at: Position,
    /// What it is, in messages: "step 'deploy'".
    what: String,
    table: &'static Table,
    entries: &'n Entries,
}

impl<'n> Fields<'n> {
    /// None, and an error, if the node is no mapping.
    pub(super) fn open(
        cx: &mut Context<'_>,
        node: &'n Node,
        table: &'static Table,
        what: impl Into<String>,
    ) -> Option<Self> {
        let what = what.into();
        match &node.kind {
            Kind::Map(entries) => Some(Self { at: node.at, what, table, entries }),
            _ => {
                let message = format!("{what} must be a mapping, found {}", node.describe());
                cx.findings.error(node.at, message);
                None
            }
        }
    }

    /// Reports unknown keys, keys without effect for the `type` at hand, and missing ones. `kind` is
    /// none when the mapping has no type or its type is not known.
    pub(super) fn review(&self, cx: &mut Context<'_>, kind: Option<&str>) {
        let has_type = self.table.key("type").is_some();
        for (name, entry) in self.entries {
            match self.table.key(name) {
                None if self.table.answers && name.starts_with("on_") => {}
                None => self.unknown(cx, name, entry),
                Some(key) => {
                    if let Some(kind) = kind.filter(|kind| !key.applies(kind)) {
                        let message =
                            format!("'{name}' has no effect in {} of type '{kind}'", self.what);
                        cx.findings.warning(entry.key_at, message);
                    }
                }
            }
        }
        for key in self.table.keys.iter().filter(|key| key.required) {
            let applies = match kind {
                Some(kind) => key.applies(kind),
                None => !has_type || key.only.is_empty(),
            };
            if applies && !self.has(key.name) {
                self.missing(cx, key.name);
            }
        }
    }

    fn unknown(&self, cx: &mut Context<'_>, name: &str, entry: &Entry) {
        let near = nearest(name, self.table.keys.iter().map(|key| key.name));
        let message = format!("unknown key {} in {} is ignored", quoted(name), self.what);
        cx.findings.push(Severity::Warning, entry.key_at, message, near);
    }

    pub(super) fn missing(&self, cx: &mut Context<'_>, name: &str) {
        cx.findings.error(self.at, format!("'{name}' is missing in {}", self.what));
    }

    /// The key is there and not null.
    pub(super) fn has(&self, name: &str) -> bool {
        self.node(name).is_some()
    }

    /// Every entry in file order, null or not.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'n str, &'n Entry)> + use<'n> {
        self.entries.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    /// The value of a key; null counts as not there.
    pub(super) fn node(&self, name: &str) -> Option<&'n Node> {
        self.entries.get(name).map(|entry| &entry.node).filter(|node| !node.is_null())
    }

    pub(super) fn key_at(&self, name: &str) -> Position {
        self.entries.get(name).map_or(self.at, |entry| entry.key_at)
    }

    fn shape(&self, name: &str) -> Shape {
        let key = self.table.key(name);
        debug_assert!(key.is_some(), "'{name}' is not in the table '{}'", self.table.name);
        key.map_or(Shape::Text, |key| key.shape)
    }

    fn wrong(&self, cx: &mut Context<'_>, name: &str, node: &Node) {
        let expected = self.shape(name).expected();
        let message = format!("'{name}' must be {expected}, found {}", node.describe());
        cx.findings.error(node.at, message);
    }

    /// Text that is text: a number or a truth value must be quoted to pass for it.
    pub(super) fn text(&self, cx: &mut Context<'_>, name: &str) -> Option<&'n str> {
        let node = self.node(name)?;
        let text = text_of(node);
        if text.is_none() {
            self.wrong(cx, name, node);
        }
        text
    }

    /// The text of any scalar as written.
    pub(super) fn verbatim(&self, cx: &mut Context<'_>, name: &str) -> Option<&'n str> {
        let node = self.node(name)?;
        let text = scalar_text(node);
        if text.is_none() {
            self.wrong(cx, name, node);
        }
        text
    }

    pub(super) fn boolean(&self, cx: &mut Context<'_>, name: &str) -> Option<bool> {
        let node = self.node(name)?;
        let value = match scalar_value(node) {
            Some(Value::Bool(value)) => Some(value),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Some(true),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Some(false),
            _ => None,
        };
        if value.is_none() {
            self.wrong(cx, name, node);
        }
        value
    }

    pub(super) fn integer(&self, cx: &mut Context<'_>, name: &str) -> Option<u32> {
        let node = self.node(name)?;
        let value = match scalar_value(node) {
            Some(Value::Number(number)) => number.as_i64(),
            Some(Value::String(text)) => text.trim().parse::<i64>().ok(),
            _ => None,
        };
        let Some(value) = value else {
            self.wrong(cx, name, node);
            return None;
        };
        let Shape::Integer(min, max) = self.shape(name) else { return None };
        let fits = u32::try_from(value).ok().filter(|value| (min..=max).contains(value));
        if fits.is_none() {
            let message = format!("'{name}' must be from {min} to {max}, found {value}");
            cx.findings.error(node.at, message);
        }
        fits
    }

    /// One of the words of the table.
    pub(super) fn choice(&self, cx: &mut Context<'_>, name: &str) -> Option<&'static str> {
        let text = self.text(cx, name)?;
        let Shape::Choice(words) = self.shape(name) else { return None };
        let found = words.iter().copied().find(|word| *word == text.trim());
        if found.is_none() {
            let message =
                format!("'{name}' must be one of {}, found {}", words.join(", "), quoted(text));
            let near = nearest(text, words.iter().copied());
            cx.findings.push(Severity::Error, self.value_at(name), message, near);
        }
        found
    }

    /// `TIER_2`, or just its number.
    pub(super) fn tier(&self, cx: &mut Context<'_>, name: &str) -> Option<u8> {
        let node = self.node(name)?;
        let text = scalar_text(node).unwrap_or_default().trim().to_ascii_uppercase();
        let tier = (0_u8..).zip(TIERS).find(|(_, tier)| {
            **tier == text || tier.strip_prefix("TIER_").is_some_and(|number| number == text)
        });
        if tier.is_none() {
            let expected = self.shape(name).expected();
            let found = scalar_text(node).map_or_else(|| node.describe().to_owned(), quoted);
            let near = nearest(&text, TIERS.iter().copied());
            let message = format!("'{name}' must be {expected}, found {found}");
            cx.findings.push(Severity::Error, node.at, message, near);
        }
        tier.map(|(tier, _)| tier)
    }

    /// Milliseconds.
    pub(super) fn duration_ms(&self, cx: &mut Context<'_>, name: &str) -> Option<u64> {
        let node = self.node(name)?;
        let milliseconds = match scalar_value(node) {
            Some(Value::Number(number)) => number.as_f64().map(|seconds| seconds * 1000.0),
            Some(Value::String(text)) => duration(&text),
            _ => None,
        };
        let milliseconds = milliseconds.filter(|ms| (0.0..=MAX_DURATION_MS).contains(ms));
        if milliseconds.is_none() {
            self.wrong(cx, name, node);
        }
        milliseconds.map(|ms| ms.round() as u64)
    }

    pub(super) fn agent(&self, cx: &mut Context<'_>, name: &str) -> Option<AgentName> {
        let text = self.text(cx, name)?;
        match AgentName::parse(text) {
            Ok(agent) if agent != AgentName::llm() && agent != AgentName::notify() => Some(agent),
            Ok(agent) => {
                let message = format!("the agent '{agent}' belongs to the engine");
                cx.findings.error(self.value_at(name), message);
                None
            }
            Err(error) => {
                cx.findings.error(self.value_at(name), error.to_string());
                None
            }
        }
    }

    /// A list of texts with the place of each.
    pub(super) fn texts(&self, cx: &mut Context<'_>, name: &str) -> Vec<(&'n str, Position)> {
        let items = self.list(cx, name);
        let mut texts = Vec::new();
        for item in items {
            match text_of(item) {
                Some(text) => texts.push((text, item.at)),
                None => {
                    let message = format!("'{name}' must hold texts, found {}", item.describe());
                    cx.findings.error(item.at, message);
                }
            }
        }
        texts
    }

    /// Known channels; an unknown one becomes the log, so that the message is not lost.
    pub(super) fn channels(&self, cx: &mut Context<'_>, name: &str) -> Vec<String> {
        let mut channels: Vec<String> = Vec::new();
        for (text, at) in self.texts(cx, name) {
            let mut channel = text.trim().to_ascii_lowercase();
            if !CHANNELS.contains(&channel.as_str()) {
                let message =
                    format!("unknown channel {}, the message goes to the log", quoted(text));
                let near = nearest(&channel, CHANNELS.iter().copied());
                cx.findings.push(Severity::Warning, at, message, near);
                "log".clone_into(&mut channel);
            }
            if !channels.contains(&channel) {
                channels.push(channel);
            }
        }
        channels
    }

    /// The items of a list; none if it is missing or something else.
    pub(super) fn list(&self, cx: &mut Context<'_>, name: &str) -> &'n [Node] {
        let Some(node) = self.node(name) else { return &[] };
        match &node.kind {
            Kind::List(items) => items,
            _ => {
                self.wrong(cx, name, node);
                &[]
            }
        }
    }

    pub(super) fn is_list(&self, name: &str) -> bool {
        self.node(name).is_some_and(|node| matches!(node.kind, Kind::List(_)))
    }

    /// The mapping under a key, read by its own table.
    pub(super) fn fields(&self, cx: &mut Context<'_>, name: &str) -> Option<Self> {
        let node = self.node(name)?;
        match self.shape(name) {
            Shape::Map(table) => Self::open(cx, node, table, format!("'{name}'")),
            _ => None,
        }
    }

    pub(super) fn template(&self, cx: &mut Context<'_>, name: &str) -> Option<Text> {
        self.text(cx, name)?;
        parse_text(cx, self.node(name)?)
    }

    /// An expression. A pair of braces around all of it is forgiven.
    pub(super) fn condition(&self, cx: &mut Context<'_>, name: &str) -> Option<Condition> {
        let node = self.node(name)?;
        let Some(value) = scalar_text(node) else {
            self.wrong(cx, name, node);
            return None;
        };
        let braced = value.trim().strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
        let source = braced.unwrap_or(value).trim();
        if braced.is_some() {
            cx.findings.warning(node.at, format!("'{name}' needs no braces around its expression"));
        }
        let locator = cx.locator(node, value);
        let start = value.find(source).unwrap_or(0);
        match Condition::parse(source) {
            Ok(condition) => {
                condition.visit_paths(&mut |path| {
                    cx.refer(path, locator.locate(start + path.offset), true);
                });
                Some(condition)
            }
            Err(error) => {
                let at = cx.position(locator.locate(start + error.offset));
                cx.findings.error(at, format!("'{name}': {}", error.message));
                None
            }
        }
    }

    /// A mapping that is rendered later.
    pub(super) fn payload(&self, cx: &mut Context<'_>, name: &str) -> Option<Payload> {
        let node = self.node(name)?;
        match &node.kind {
            Kind::Map(_) => payload(cx, node),
            _ => {
                self.wrong(cx, name, node);
                None
            }
        }
    }

    /// A list, or one expression that gives one.
    pub(super) fn items(&self, cx: &mut Context<'_>, name: &str) -> Option<Payload> {
        let node = self.node(name)?;
        let items = payload(cx, node)?;
        let gives_a_list = match &items {
            Payload::List(_) => true,
            Payload::Text(text) => text.sole_expression().is_some(),
            _ => false,
        };
        if !gives_a_list {
            self.wrong(cx, name, node);
        }
        gives_a_list.then_some(items)
    }

    /// `all`, `any`, or how many.
    pub(super) fn join(&self, cx: &mut Context<'_>, name: &str) -> Option<Join> {
        let node = self.node(name)?;
        let join = match scalar_text(node).map(str::trim) {
            Some("all") => Some(Join::All),
            Some("any") => Some(Join::Count(1)),
            number => {
                let number = number.and_then(|text| text.parse::<u32>().ok());
                number.filter(|n| (1..=MAX_BRANCHES).contains(n)).map(Join::Count)
            }
        };
        if join.is_none() {
            self.wrong(cx, name, node);
        }
        join
    }

    /// The mapping of branches: name, place of the name, and the list of steps.
    pub(super) fn branches(
        &self,
        cx: &mut Context<'_>,
        name: &str,
    ) -> Vec<(&'n str, Position, &'n Node)> {
        let Some(node) = self.node(name) else { return Vec::new() };
        let Kind::Map(entries) = &node.kind else {
            self.wrong(cx, name, node);
            return Vec::new();
        };
        entries.iter().map(|(name, entry)| (name.as_str(), entry.key_at, &entry.node)).collect()
    }

    pub(super) fn target(&self, cx: &mut Context<'_>, name: &str) -> Option<Target> {
        let node = self.node(name)?;
        target(cx, name, node)
    }

    /// The id of a step of this file.
    pub(super) fn step(&self, cx: &mut Context<'_>, name: &str) -> Option<&'n str> {
        let id = self.text(cx, name)?;
        step_id(cx, id, self.value_at(name)).then_some(id)
    }

    pub(super) fn value_at(&self, name: &str) -> Position {
        self.node(name).map_or(self.at, |node| node.at)
    }
}

impl Key {
    fn applies(&self, kind: &str) -> bool {
        self.only.is_empty() || self.only.contains(&kind)
    }
}

/// True if there is such a step; otherwise an error.
pub(super) fn step_id(cx: &mut Context<'_>, id: &str, at: Position) -> bool {
    let here = cx.targets.here();
    let known = cx.targets.find(id, here).is_some();
    if !known {
        let near = cx.targets.nearest_step(id, here);
        let message = format!("there is no step {}", quoted(id));
        cx.findings.push(Severity::Error, at, message, near);
    }
    known
}

/// Where the edge `name` leads.
pub(super) fn target(cx: &mut Context<'_>, name: &str, node: &Node) -> Option<Target> {
    let Some(text) = text_of(node) else {
        let expected = Shape::Target.expected();
        let message = format!("'{name}' must be {expected}, found {}", node.describe());
        cx.findings.error(node.at, message);
        return None;
    };
    let found = cx.targets.resolve(text);
    if found.is_none() {
        let near = cx.targets.nearest(text);
        let nothing = match cx.targets.is_inner() {
            false => "which is no step and no virtual target",
            true => "which is no step of this branch and no end of one",
        };
        let message = format!("'{name}' leads to {}, {nothing}", quoted(text));
        cx.findings.push(Severity::Error, node.at, message, near);
    }
    found
}
