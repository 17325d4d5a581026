//! Counting tokens as models do, without asking anybody: the vocabularies come with the binary.

use clap::ValueEnum;

/// What the guides promise for one agent: prompt, guides to its tools, and context.
pub(crate) const BUDGET: usize = 8_000;

/// A vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Encoding {
    /// Of newer models.
    #[value(name = "o200k_base")]
    O200k,
    /// Of older ones, which need a few more tokens for the same text.
    #[value(name = "cl100k_base")]
    Cl100k,
}

impl Encoding {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::O200k => "o200k_base",
            Self::Cl100k => "cl100k_base",
        }
    }

    /// How many tokens `text` is. Marks such as `<|endoftext|>` in it are text like any other.
    pub(crate) fn count(self, text: &str) -> usize {
        let vocabulary = match self {
            Self::O200k => tiktoken_rs::o200k_base_singleton(),
            Self::Cl100k => tiktoken_rs::cl100k_base_singleton(),
        };
        vocabulary.encode_ordinary(text).len()
    }
}

/// Per cent of the budget, half up.
pub(crate) fn percent(tokens: usize) -> usize {
    (tokens * 100 + BUDGET / 2) / BUDGET
}

/// `12,345`.
pub(crate) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts that the vocabularies' makers publish for these texts.
    #[test]
    fn texts_are_cut_as_models_cut_them() {
        let cases = [
            ("", 0, 0),
            ("hello world", 2, 2),
            ("tiktoken is great!", 6, 6),
            ("antidisestablishmentarianism", 6, 6),
            ("2 + 2 = 4", 7, 7),
            ("お誕生日おめでとう", 8, 9),
        ];
        for (text, o200k, cl100k) in cases {
            assert_eq!(Encoding::O200k.count(text), o200k, "{text}");
            assert_eq!(Encoding::Cl100k.count(text), cl100k, "{text}");
        }
    }

    #[test]
    fn marks_in_a_text_are_text() {
        assert!(Encoding::O200k.count("<|endoftext|>") > 1);
    }

    /// The six samples of the guide.
    #[test]
    fn numbers_are_written_as_the_guide_writes_them() {
        let samples = [
            (2_345, "2,345", 29),
            (3_567, "3,567", 45),
            (4_123, "4,123", 52),
            (2_890, "2,890", 36),
            (2_456, "2,456", 31),
            (2_012, "2,012", 25),
        ];
        for (tokens, text, share) in samples {
            assert_eq!((grouped(tokens).as_str(), percent(tokens)), (text, share));
        }
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(grouped),
            ["0", "999", "1,000", "1,234,567"].map(str::to_owned)
        );
        assert_eq!([39, 40].map(percent), [0, 1]);
    }
}
