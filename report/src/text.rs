//! Texts that others wrote, made fit for a page.

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use typst::text::is_default_ignorable;

use crate::world;

/// Characters of a cell in a table of a line each.
pub(crate) const LINE: usize = 150;
/// Characters of a cell that may take several lines.
pub(crate) const LONG: usize = 1_200;
/// Characters that stand together without a place to break the line.
const RUN: usize = 14;

/// At most `max` characters, the cut marked; what cannot be seen or turns the direction of the text is replaced;
/// what no font has is named by its number; long words get places where a line may end.
pub(crate) fn fit(text: &str, max: usize) -> String {
    let mut out = String::new();
    let mut run = 0;
    for (n, c) in text.chars().enumerate() {
        if n == max {
            out.push_str(&format!("… [{} characters more]", text.chars().count() - max));
            break;
        }
        let c = seen(c);
        run = if c.is_whitespace() || c == '-' { 0 } else { run + 1 };
        if world::is_drawable(c) {
            out.push(c);
        } else {
            out.push_str(&format!("[U+{:04X}]", u32::from(c)));
        }
        if run == RUN {
            out.push('\u{200b}');
            run = 0;
        }
    }
    out
}

fn seen(c: char) -> char {
    match c {
        '\n' | '\r' | '\t' => ' ',
        // Lines end where the page wants it.
        '\u{2028}' | '\u{2029}' => ' ',
        c if c.is_control() || is_default_ignorable(c) => '\u{fffd}',
        c => c,
    }
}

/// A value as people read it.
pub(crate) fn shown(value: &Value, max: usize) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => fit(text, max),
        other => fit(&other.to_string(), max),
    }
}

/// A field of an event's data, empty when it is not there.
pub(crate) fn field(data: &Value, name: &str, max: usize) -> String {
    shown(&data[name], max)
}

/// Microseconds since 1970 of a field with a moment.
pub(crate) fn moment(value: &Value) -> Option<i64> {
    let at = OffsetDateTime::parse(value.as_str()?, &Rfc3339).ok()?;
    i64::try_from(at.unix_timestamp_nanos() / 1_000).ok()
}

/// `2031-03-04 10:15:00.123`, in UTC.
pub(crate) fn time(micros: i64) -> String {
    let Ok(at) = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000) else {
        return String::new();
    };
    format!(
        "{} {:02}:{:02}:{:02}.{:03}",
        at.date(),
        at.hour(),
        at.minute(),
        at.second(),
        at.millisecond()
    )
}

/// `2 d 3 h`, `4 min 5 s`, `1.25 s`, `12 ms`.
pub(crate) fn duration(micros: i64) -> String {
    let ms = micros.max(0) / 1_000;
    let s = ms / 1_000;
    match s {
        0 => format!("{ms} ms"),
        1..60 => format!("{}.{:02} s", s, ms % 1_000 / 10),
        60..3_600 => format!("{} min {} s", s / 60, s % 60),
        3_600..86_400 => format!("{} h {} min", s / 3_600, s % 3_600 / 60),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_are_marked_and_long_words_can_break() {
        assert_eq!(fit("abcdef", 3), "abc… [3 characters more]");
        assert_eq!(fit("a\u{202e}b\0\u{00ad}", 9), "a\u{fffd}b\u{fffd}\u{fffd}");
        assert_eq!(fit("Jürgen 王", 9), "Jürgen [U+738B]");
        assert_eq!(fit(&"x".repeat(15), 99), format!("{}\u{200b}x", "x".repeat(14)));
    }

    #[test]
    fn moments_and_durations() {
        let at = moment(&Value::from("2031-03-04T10:15:00.123+01:00")).unwrap();
        assert_eq!(time(at), "2031-03-04 09:15:00.123");
        let cases = [
            (12_000, "12 ms"),
            (1_250_000, "1.25 s"),
            (245_000_000, "4 min 5 s"),
            (183_600_000_000, "2 d 3 h"),
        ];
        for (micros, expected) in cases {
            assert_eq!(duration(micros), expected);
        }
    }
}
