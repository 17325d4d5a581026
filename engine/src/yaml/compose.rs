//! Builds the tree from the events of the parser, within limits.

use std::collections::HashMap;

use granit_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, Tag};
use indexmap::IndexMap;

use super::{
    Entry, Kind, MAX_BYTES, MAX_DEPTH, MAX_NODES, MAX_TEXT_BYTES, Map, Node, Problem, Scalar,
};
use crate::template::Position;

/// Reads one document. No tree means that a problem made it useless; other problems leave a tree
/// in which the rest can still be checked.
pub(crate) fn compose(text: &str) -> (Option<Node>, Vec<Problem>) {
    let start = Position { line: 1, column: 1 };
    if text.len() > MAX_BYTES {
        let message = format!("the file is larger than {} KiB", MAX_BYTES / 1024);
        return (None, vec![Problem { at: start, message, harmless: false }]);
    }
    // A last line without a line feed ends a block scalar without one, as in PyYAML.
    let options = granit_parser::options! { block_scalar_eof_without_line_feed: true };
    let mut composer = Composer::default();
    for event in Parser::new_from_str_with_options(text, options) {
        let done = match event {
            Ok((event, span)) => composer.event(event, &span),
            Err(error) => Err(syntax_problem(&error)),
        };
        if let Err(fatal) = done {
            composer.problems.push(fatal);
            return (None, composer.problems);
        }
    }
    (composer.root, composer.problems)
}

#[derive(Default)]
struct Composer {
    root: Option<Node>,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Anchored>,
    documents: u32,
    used: Size,
    problems: Vec<Problem>,
}

/// A list or mapping that has not ended yet.
struct Frame {
    at: Position,
    start: usize,
    anchor: usize,
    /// Nesting found below it so far.
    depth: usize,
    used_before: Size,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map { map: Map, key: Option<Key>, merged: Vec<Node> },
}

enum Key {
    Text(String, Position),
    Merge,
    /// Refused; the value that follows is dropped.
    Refused,
}

/// A finished node that aliases can repeat.
struct Anchored {
    node: Node,
    depth: usize,
    size: Size,
}

#[derive(Clone, Copy, Default)]
struct Size {
    nodes: usize,
    bytes: usize,
}

impl Composer {
    fn event(&mut self, event: Event<'_>, span: &Span) -> Result<(), Problem> {
        let at = position(&span.start);
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(fatal(at, "a second document starts here; a file is one template"));
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.spend(at, Size { nodes: 1, bytes: text.len() })?;
                let plain = style == ScalarStyle::Plain && !self.is_text_tag(tag.as_deref(), span);
                let scalar = Scalar { text: text.into_owned(), plain };
                let source = span.byte_range().unwrap_or_default();
                let size = Size { nodes: 1, bytes: scalar.text.len() };
                let node = Node { at, source, kind: Kind::Scalar(scalar) };
                self.finish(node, anchor, 0, size)?;
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.is_text_tag(tag.as_deref(), span);
                self.open(span, anchor, Content::List(Vec::new()))?;
            }
            Event::MappingStart(_, anchor, tag) => {
                self.is_text_tag(tag.as_deref(), span);
                let content = Content::Map { map: IndexMap::new(), key: None, merged: Vec::new() };
                self.open(span, anchor, content)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span)?,
            Event::Alias(id) => self.alias(id, at)?,
            _ => {}
        }
        Ok(())
    }

    fn open(&mut self, span: &Span, anchor: usize, content: Content) -> Result<(), Problem> {
        let at = position(&span.start);
        let used_before = self.used;
        self.spend(at, Size { nodes: 1, bytes: 0 })?;
        if self.stack.len() >= MAX_DEPTH {
            return Err(too_deep(at));
        }
        let start = span.byte_range().unwrap_or_default().start;
        self.stack.push(Frame { at, start, anchor, depth: 0, used_before, content });
        Ok(())
    }

    fn close(&mut self, span: &Span) -> Result<(), Problem> {
        let Some(frame) = self.stack.pop() else { return Ok(()) };
        let end = span.byte_range().unwrap_or_default().end.max(frame.start);
        let kind = match frame.content {
            Content::List(items) => Kind::List(items),
            Content::Map { mut map, merged, .. } => {
                merged.into_iter().for_each(|source| self.merge(&mut map, source));
                Kind::Map(map)
            }
        };
        let size = Size {
            nodes: self.used.nodes - frame.used_before.nodes,
            bytes: self.used.bytes - frame.used_before.bytes,
        };
        let node = Node { at: frame.at, source: frame.start..end, kind };
        self.finish(node, frame.anchor, frame.depth + 1, size)
    }

    /// Puts a finished node where it belongs, and keeps a copy if aliases can name it.
    fn finish(
        &mut self,
        node: Node,
        anchor: usize,
        depth: usize,
        size: Size,
    ) -> Result<(), Problem> {
        if anchor != 0 {
            self.spend(node.at, size)?;
            self.anchors.insert(anchor, Anchored { node: node.clone(), depth, size });
        }
        self.accept(node, depth);
        Ok(())
    }

    fn alias(&mut self, id: usize, at: Position) -> Result<(), Problem> {
        let Some(Anchored { depth, size, .. }) = self.anchors.get(&id) else {
            return Err(fatal(at, "the alias refers to itself"));
        };
        let (depth, size) = (*depth, *size);
        if self.stack.len() + depth > MAX_DEPTH {
            return Err(too_deep(at));
        }
        self.spend(at, size)?;
        if let Some(node) = self.anchors.get(&id).map(|anchored| anchored.node.clone()) {
            self.accept(node, depth);
        }
        Ok(())
    }

    fn accept(&mut self, node: Node, depth: usize) {
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(node);
            return;
        };
        frame.depth = frame.depth.max(depth);
        match &mut frame.content {
            Content::List(items) => items.push(node),
            Content::Map { map, key, merged } => match key.take() {
                None => *key = Some(read_key(node, &mut self.problems)),
                Some(Key::Text(text, key_at)) => {
                    insert(map, text, Entry { key_at, node }, &mut self.problems);
                }
                Some(Key::Merge) => merged.push(node),
                Some(Key::Refused) => {}
            },
        }
    }

    /// `<<`: takes over the entries that the mapping does not have itself.
    fn merge(&mut self, map: &mut Map, source: Node) {
        match source.kind {
            Kind::Map(entries) => {
                for (key, entry) in entries {
                    map.entry(key).or_insert(entry);
                }
            }
            Kind::List(items) if items.iter().all(|item| matches!(item.kind, Kind::Map(_))) => {
                items.into_iter().for_each(|item| self.merge(map, item));
            }
            _ => self.problems.push(fatal(source.at, "only mappings can be merged with '<<'")),
        }
    }

    /// True for the tags that make any scalar text. Foreign tags change nothing and are reported.
    fn is_text_tag(&mut self, tag: Option<&Tag>, span: &Span) -> bool {
        let Some(tag) = tag else { return false };
        if let Some(core) = tag.core_suffix() {
            return core == "str";
        }
        let name = tag.original();
        if name != "!" {
            let at = position(span.tag_start.as_ref().unwrap_or(&span.start));
            let message = format!("the tag '{name}' is ignored");
            self.problems.push(Problem { at, message, harmless: true });
        }
        name == "!"
    }

    fn spend(&mut self, at: Position, size: Size) -> Result<(), Problem> {
        self.used.nodes += size.nodes;
        self.used.bytes += size.bytes;
        if self.used.nodes > MAX_NODES || self.used.bytes > MAX_TEXT_BYTES {
            return Err(fatal(at, "the file is too large once its aliases are followed"));
        }
        Ok(())
    }
}

fn read_key(node: Node, problems: &mut Vec<Problem>) -> Key {
    match node.kind {
        Kind::Scalar(Scalar { text, plain: true }) if text == "<<" => Key::Merge,
        Kind::Scalar(Scalar { text, .. }) => Key::Text(text, node.at),
        _ => {
            let message = "a key must be text; a text that starts with '{' or '[' needs quotes";
            problems.push(fatal(node.at, message));
            Key::Refused
        }
    }
}

fn insert(map: &mut Map, key: String, entry: Entry, problems: &mut Vec<Problem>) {
    match map.get(&key) {
        Some(first) => {
            let Position { line, column } = first.key_at;
            let message = format!("the key '{key}' is already there, at {line}:{column}");
            problems.push(fatal(entry.key_at, message));
        }
        None => {
            map.insert(key, entry);
        }
    }
}

fn syntax_problem(error: &ScanError) -> Problem {
    fatal(position(error.marker()), format!("not valid YAML: {}", error.info()))
}

fn too_deep(at: Position) -> Problem {
    fatal(at, format!("nested deeper than {MAX_DEPTH}"))
}

fn fatal(at: Position, message: impl Into<String>) -> Problem {
    Problem { at, message: message.into(), harmless: false }
}

fn position(marker: &Marker) -> Position {
    let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    Position { line: number(marker.line()).max(1), column: number(marker.col()).saturating_add(1) }
}
