//! A stored text with places that differ from one copy of a run to the next.

use sluice_proto::timestamp::Timestamp;

/// Names longer than this stand in no stored text.
const LONGEST_MOMENT: usize = 40;

/// A text, cut where a copy has something else.
#[derive(Clone, Debug)]
pub(super) struct Pattern(Vec<Piece>);

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Text(String),
    /// The run's name, alone or in another name.
    Id,
    /// A moment, to be moved.
    Moment(Timestamp),
    /// One of the given words.
    Word(usize),
}

impl Pattern {
    /// Cuts `text` at the run's name, at every moment and at these words; empty words stand nowhere.
    pub(super) fn of(text: &str, id: &str, words: &[&str]) -> Self {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            let Some((piece, length)) = cut(rest, plain.ends_with('"'), id, words) else {
                plain.push(next);
                rest = &rest[next.len_utf8()..];
                continue;
            };
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
            pieces.push(piece);
            rest = &rest[length..];
        }
        pieces.push(Piece::Text(plain));
        Self(pieces)
    }

    /// The text of a copy: another name, every moment so much earlier, other words.
    pub(super) fn fill(&self, id: &str, earlier_micros: i64, words: &[&str]) -> String {
        let mut text = String::with_capacity(1_024);
        for piece in &self.0 {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Id => text.push_str(id),
                Piece::Moment(moment) => {
                    let moved = Timestamp::from_micros(moment.as_micros() - earlier_micros);
                    text.push_str(&moved.to_string());
                }
                Piece::Word(index) => text.push_str(words[*index]),
            }
        }
        text
    }
}

/// What begins here, and its length.
fn cut(rest: &str, is_quoted: bool, id: &str, words: &[&str]) -> Option<(Piece, usize)> {
    if rest.starts_with(id) {
        return Some((Piece::Id, id.len()));
    }
    let is_word = |word: &str| !word.is_empty() && rest.starts_with(word);
    if let Some(index) = words.iter().position(|word| is_word(word)) {
        return Some((Piece::Word(index), words[index].len()));
    }
    if !is_quoted || !rest.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let quoted = &rest[..rest.find('"').filter(|end| *end <= LONGEST_MOMENT)?];
    let moment = Timestamp::parse(quoted).ok()?;
    // What would be written otherwise is somebody else's text.
    (moment.to_string() == quoted).then_some((Piece::Moment(moment), quoted.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_differs_where_it_must() {
        let text = r#"{"at":"2031-03-04T05:06:07.000001Z","id":"apr-run-1-2","n":"12","other":"2031","w":"aaa é"}"#;
        let pattern = Pattern::of(text, "run-1", &["aaa", ""]);
        assert_eq!(pattern.fill("run-1", 0, &["aaa", ""]), text);
        let copy = r#"{"at":"2031-03-04T05:06:06.000001Z","id":"apr-x-2","n":"12","other":"2031","w":"b é"}"#;
        assert_eq!(pattern.fill("x", 1_000_000, &["b", ""]), copy);
    }
}
