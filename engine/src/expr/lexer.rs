//! Cuts an expression into tokens.

use serde_json::Value;

use super::ast::{Operator, Path};
use super::{MAX_EXPRESSION_BYTES, ParseError};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Literal(Value),
    Path(Path),
    Operator(Operator),
    Not,
    Open,
    Close,
    OpenList,
    CloseList,
    Comma,
    End,
}

/// All tokens with their byte offsets; the last is always [`Token::End`].
pub(super) fn tokens(source: &str) -> Result<Vec<(usize, Token)>, ParseError> {
    if source.len() > MAX_EXPRESSION_BYTES {
        let message = format!("the expression is longer than {MAX_EXPRESSION_BYTES} bytes");
        return Err(ParseError::new(0, message));
    }
    let mut lexer = Lexer { source, at: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_space();
        let offset = lexer.at;
        let token = lexer.token()?;
        let done = token == Token::End;
        tokens.push((offset, token));
        if done {
            return Ok(tokens);
        }
    }
}

struct Lexer<'s> {
    source: &'s str,
    at: usize,
}

impl<'s> Lexer<'s> {
    fn token(&mut self) -> Result<Token, ParseError> {
        let Some(first) = self.peek() else { return Ok(Token::End) };
        if is_name_start(first) {
            return self.word();
        }
        if first.is_ascii_digit() {
            return self.number();
        }
        if first == '\'' || first == '"' {
            return self.quoted().map(|text| Token::Literal(Value::String(text)));
        }
        self.symbol(first)
    }

    fn symbol(&mut self, first: char) -> Result<Token, ParseError> {
        const SYMBOLS: [(&str, Token); 15] = [
            ("==", Token::Operator(Operator::Equal)),
            ("!=", Token::Operator(Operator::NotEqual)),
            ("<=", Token::Operator(Operator::LessEqual)),
            (">=", Token::Operator(Operator::GreaterEqual)),
            ("<", Token::Operator(Operator::Less)),
            (">", Token::Operator(Operator::Greater)),
            ("+", Token::Operator(Operator::Add)),
            ("-", Token::Operator(Operator::Subtract)),
            ("*", Token::Operator(Operator::Multiply)),
            ("/", Token::Operator(Operator::Divide)),
            ("(", Token::Open),
            (")", Token::Close),
            ("[", Token::OpenList),
            ("]", Token::CloseList),
            (",", Token::Comma),
        ];
        for (symbol, token) in SYMBOLS {
            if self.rest().starts_with(symbol) {
                self.at += symbol.len();
                return Ok(token);
            }
        }
        Err(self.error(match first {
            '|' => "filters such as '| upper' are not part of the language".to_owned(),
            '=' => "'=' compares nothing; write '=='".to_owned(),
            '&' => "write 'and' instead of '&'".to_owned(),
            '!' => "write 'not' instead of '!'".to_owned(),
            '{' | '}' => format!("'{first}' cannot stand inside an expression"),
            other => format!("'{other}' means nothing in an expression"),
        }))
    }

    /// A keyword, or a path with everything that belongs to it.
    fn word(&mut self) -> Result<Token, ParseError> {
        let offset = self.at;
        let root = self.name();
        let keyword = match root {
            "and" => Some(Token::Operator(Operator::And)),
            "or" => Some(Token::Operator(Operator::Or)),
            "in" => Some(Token::Operator(Operator::In)),
            "not" => Some(Token::Not),
            // The spellings of Python are accepted too: templates were written against it.
            "true" | "True" => Some(Token::Literal(Value::Bool(true))),
            "false" | "False" => Some(Token::Literal(Value::Bool(false))),
            "null" | "None" | "none" => Some(Token::Literal(Value::Null)),
            _ => None,
        };
        match keyword {
            Some(token) => Ok(token),
            None => self.path(root.to_owned(), offset).map(Token::Path),
        }
    }

    fn path(&mut self, root: String, offset: usize) -> Result<Path, ParseError> {
        let mut segments = Vec::new();
        loop {
            match self.peek() {
                Some('.') => {
                    self.at += 1;
                    let name = self.name();
                    if name.is_empty() {
                        return Err(self.error("a name is missing after '.'"));
                    }
                    segments.push(name.to_owned());
                }
                Some('[') => segments.push(self.index()?),
                Some('(') => return Err(self.error("calls are not part of the language")),
                _ => return Ok(Path { root, segments, offset }),
            }
        }
    }

    /// `['name']` or `[0]`.
    fn index(&mut self) -> Result<String, ParseError> {
        self.at += 1;
        self.skip_space();
        let segment = match self.peek() {
            Some('\'' | '"') => self.quoted()?,
            Some(digit) if digit.is_ascii_digit() => self.digits().to_owned(),
            _ => {
                return Err(self.error("only a quoted name or a number can stand in brackets"));
            }
        };
        self.skip_space();
        if self.peek() != Some(']') {
            return Err(self.error("']' is missing"));
        }
        self.at += 1;
        Ok(segment)
    }

    fn number(&mut self) -> Result<Token, ParseError> {
        let start = self.at;
        self.digits();
        if self.peek() == Some('.') {
            self.at += 1;
            self.digits();
        }
        if matches!(self.peek(), Some('e' | 'E')) {
            self.at += 1;
            if matches!(self.peek(), Some('+' | '-')) {
                self.at += 1;
            }
            self.digits();
        }
        let text = &self.source[start..self.at];
        let value = match text.parse::<i64>() {
            Ok(integer) => Some(Value::from(integer)),
            Err(_) => serde_json::Number::from_f64(text.parse().unwrap_or(f64::NAN))
                .filter(|_| text.contains(['.', 'e', 'E']))
                .map(Value::Number),
        };
        match value {
            Some(value) if !self.peek().is_some_and(is_name_start) => Ok(Token::Literal(value)),
            _ => Err(ParseError::new(start, format!("'{text}' is not a number we can use"))),
        }
    }

    fn quoted(&mut self) -> Result<String, ParseError> {
        let start = self.at;
        let mut chars = self.rest().char_indices();
        let quote = chars.next().map_or('\'', |(_, quote)| quote);
        let mut text = String::new();
        while let Some((offset, c)) = chars.next() {
            match c {
                '\\' => match chars.next() {
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, 't')) => text.push('\t'),
                    Some((_, c @ ('\\' | '\'' | '"'))) => text.push(c),
                    _ => {
                        let message = "after '\\' only \\ ' \" n and t are known";
                        return Err(ParseError::new(start + offset, message));
                    }
                },
                c if c == quote => {
                    self.at = start + offset + 1;
                    return Ok(text);
                }
                c => text.push(c),
            }
        }
        Err(ParseError::new(start, format!("the closing {quote} is missing")))
    }

    fn name(&mut self) -> &'s str {
        self.take_while(|c| is_name_start(c) || c.is_ascii_digit())
    }

    fn digits(&mut self) -> &'s str {
        self.take_while(|c| c.is_ascii_digit())
    }

    fn skip_space(&mut self) {
        self.take_while(char::is_whitespace);
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'s str {
        let rest = self.rest();
        let end = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn rest(&self) -> &'s str {
        &self.source[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn error(&self, message: impl Into<String>) -> ParseError {
        ParseError::new(self.at, message)
    }
}

fn is_name_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}
