//! Builds the tree by operator precedence.

use serde_json::Value;

use super::ast::{COMPARISON_POWER, Expr, NEGATE_POWER, NOT_POWER, Operator};
use super::lexer::{Token, tokens};
use super::{MAX_DEPTH, MAX_OPERATORS, ParseError};

/// Reads one expression, all of `source`.
pub(super) fn parse(source: &str) -> Result<Expr, ParseError> {
    let tokens = tokens(source)?;
    let mut parser = Parser { tokens, next: 0, depth: 0, operators: 0 };
    let expr = parser.expression(0)?;
    match parser.peek() {
        Token::End => Ok(expr),
        token => Err(parser.error(format!("{} is not expected here", describe(token)))),
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    depth: usize,
    operators: usize,
}

impl Parser {
    /// Everything that binds tighter than `power`.
    fn expression(&mut self, power: u8) -> Result<Expr, ParseError> {
        let mut left = self.prefix()?;
        while let Some(operator) = self.operator() {
            if operator.power() <= power {
                break;
            }
            self.count_operator()?;
            self.advance();
            if operator == Operator::NotIn {
                self.advance();
            }
            let right = self.expression(operator.power())?;
            left = Expr::Binary(Box::new(left), operator, Box::new(right));
            self.refuse_chain(operator)?;
        }
        Ok(left)
    }

    /// `a < b < c` reads differently in every language, so in this one it is an error.
    fn refuse_chain(&self, operator: Operator) -> Result<(), ParseError> {
        let is_comparison = |operator: Operator| operator.power() == COMPARISON_POWER;
        match self.operator() {
            Some(next) if is_comparison(operator) && is_comparison(next) => {
                Err(self.error("comparisons cannot be chained; join them with 'and'"))
            }
            _ => Ok(()),
        }
    }

    fn prefix(&mut self) -> Result<Expr, ParseError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error("the expression is nested too deep"));
        }
        let expr = match self.peek().clone() {
            Token::Literal(value) => self.advanced(Expr::Literal(value)),
            Token::Path(path) => self.advanced(Expr::Path(path)),
            Token::Not => {
                self.advance();
                Expr::Not(Box::new(self.expression(NOT_POWER)?))
            }
            Token::Operator(Operator::Subtract) => {
                self.advance();
                negate(self.expression(NEGATE_POWER)?)
            }
            Token::Open => self.parentheses()?,
            Token::OpenList => Expr::Literal(self.list()?),
            token => {
                return Err(self.error(format!("expected a value, found {}", describe(&token))));
            }
        };
        self.depth -= 1;
        Ok(expr)
    }

    fn parentheses(&mut self) -> Result<Expr, ParseError> {
        self.advance();
        let inner = self.expression(0)?;
        match self.peek() {
            Token::Close => Ok(self.advanced(inner)),
            token => Err(self.error(format!("expected ')', found {}", describe(token)))),
        }
    }

    /// A list of literals, as in `x in ['a', 'b']`.
    fn list(&mut self) -> Result<Value, ParseError> {
        self.advance();
        let mut items = Vec::new();
        loop {
            match self.peek().clone() {
                Token::Literal(value) => {
                    items.push(value);
                    self.advance();
                }
                Token::CloseList if items.is_empty() => {}
                _ => return Err(self.error("a list can hold only numbers, texts and constants")),
            }
            match self.peek() {
                Token::Comma => self.advance(),
                Token::CloseList => return Ok(self.advanced(Value::Array(items))),
                token => return Err(self.error(format!("expected ']', found {}", describe(token)))),
            }
        }
    }

    /// The infix operator at this place, if there is one.
    fn operator(&self) -> Option<Operator> {
        match self.peek() {
            Token::Operator(operator) => Some(*operator),
            Token::Not => match self.tokens.get(self.next + 1) {
                Some((_, Token::Operator(Operator::In))) => Some(Operator::NotIn),
                _ => None,
            },
            _ => None,
        }
    }

    fn count_operator(&mut self) -> Result<(), ParseError> {
        self.operators += 1;
        if self.operators > MAX_OPERATORS {
            return Err(self.error(format!("more than {MAX_OPERATORS} operators")));
        }
        Ok(())
    }

    fn peek(&self) -> &Token {
        &self.tokens[self.next].1
    }

    /// Stays at the end once it is there.
    fn advance(&mut self) {
        self.next = (self.next + 1).min(self.tokens.len() - 1);
    }

    fn advanced<T>(&mut self, value: T) -> T {
        self.advance();
        value
    }

    fn error(&self, message: impl Into<String>) -> ParseError {
        ParseError::new(self.tokens[self.next].0, message)
    }
}

fn negate(inner: Expr) -> Expr {
    match &inner {
        Expr::Literal(Value::Number(number)) => match number.as_i64().and_then(i64::checked_neg) {
            Some(negated) => Expr::Literal(Value::from(negated)),
            None => Expr::Negate(Box::new(inner)),
        },
        _ => Expr::Negate(Box::new(inner)),
    }
}

fn describe(token: &Token) -> String {
    match token {
        Token::Literal(value) => format!("{value}"),
        Token::Path(path) => format!("'{path}'"),
        Token::Operator(operator) => format!("'{}'", operator.symbol()),
        Token::Not => "'not'".to_owned(),
        Token::Open => "'('".to_owned(),
        Token::Close => "')'".to_owned(),
        Token::OpenList => "'['".to_owned(),
        Token::CloseList => "']'".to_owned(),
        Token::Comma => "','".to_owned(),
        Token::End => "the end".to_owned(),
    }
}
