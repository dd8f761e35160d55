//! The expression language, from text to a tree:
//!
//! ```text
//! condition  = conjunction { "or" conjunction }
//! conjunction = negation { "and" negation }
//! negation   = "not" negation | comparison
//! comparison = value [ ("=" | "==" | "!=" | "<>" | "<" | "<=" | ">" | ">=") value | "is" ["not"] "null" ]
//! value      = column | number | 'text' | "true" | "false" | "(" condition ")"
//! ```
//!
//! A column is a name, or anything in double quotes; quotes within quotes are doubled.

use millstream_sdk::Error;

/// Levels of parentheses and `not`: the parser calls itself for each.
const DEPTH_MAX: usize = 100;

/// An error and its position: a byte of the text.
#[derive(Debug)]
pub struct Mistake {
    pub at: usize,
    pub message: String,
}

impl Mistake {
    pub fn new(at: usize, message: impl Into<String>) -> Mistake {
        Mistake { at, message: message.into() }
    }

    /// Returns an error that shows the text and points at the position.
    pub fn point(&self, text: &str) -> Error {
        let before = text.get(..self.at).unwrap_or(text);
        let line = text.replace(['\n', '\r', '\t'], " ");
        Error::config(format!("where: {}\n  {line}\n  {}^", self.message, " ".repeat(before.chars().count())))
    }
}

/// A part of the expression, and its position.
#[derive(Debug)]
pub struct Expression {
    pub at: usize,
    pub kind: Kind,
}

/// The kind of a part of the expression.
#[derive(Debug)]
pub enum Kind {
    Column(String),
    Int(i64),
    Float(f64),
    Text(String),
    Bool(bool),
    Not(Box<Expression>),
    And(Box<Expression>, Box<Expression>),
    Or(Box<Expression>, Box<Expression>),
    IsNull { value: Box<Expression>, negated: bool },
    Compare(Comparison, Box<Expression>, Box<Expression>),
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Parses a complete expression.
pub fn parse(text: &str) -> Result<Expression, Mistake> {
    if text.trim().is_empty() {
        return Err(Mistake::new(0, "the expression is empty"));
    }
    let mut parser = Parser { tokens: tokens(text)?, next: 0, end: text.len(), depth: 0 };
    let expression = parser.condition()?;
    match parser.peek() {
        None => Ok(expression),
        Some(_) => Err(parser.expected("the end, `and` or `or`")),
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Quoted(String),
    Text(String),
    Number(String),
    Compare(Comparison),
    Minus,
    Open,
    Close,
}

fn tokens(text: &str) -> Result<Vec<(usize, Token)>, Mistake> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let first = rest.chars().next().unwrap_or_default();
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let (length, token) = token(rest, first).map_err(|message| Mistake::new(at, message))?;
        tokens.push((at, token));
        at += length;
    }
    Ok(tokens)
}

/// Returns the first token of a text, and its length in bytes.
fn token(rest: &str, first: char) -> Result<(usize, Token), String> {
    const SIGNS: [(&str, Token); 11] = [
        ("==", Token::Compare(Comparison::Equal)),
        ("=", Token::Compare(Comparison::Equal)),
        ("!=", Token::Compare(Comparison::NotEqual)),
        ("<>", Token::Compare(Comparison::NotEqual)),
        ("<=", Token::Compare(Comparison::LessOrEqual)),
        ("<", Token::Compare(Comparison::Less)),
        (">=", Token::Compare(Comparison::GreaterOrEqual)),
        (">", Token::Compare(Comparison::Greater)),
        ("-", Token::Minus),
        ("(", Token::Open),
        (")", Token::Close),
    ];
    if let Some((sign, token)) = SIGNS.iter().find(|(sign, _)| rest.starts_with(sign)) {
        return Ok((sign.len(), token.clone()));
    }
    match first {
        '\'' => quoted(rest, '\'').map(|(length, text)| (length, Token::Text(text))),
        '"' => quoted(rest, '"').map(|(length, name)| (length, Token::Quoted(name))),
        '0'..='9' => {
            let length = number_length(rest);
            Ok((length, Token::Number(rest.get(..length).unwrap_or_default().into())))
        }
        _ if first.is_alphabetic() || first == '_' => {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            Ok((end, Token::Word(rest.get(..end).unwrap_or_default().into())))
        }
        _ => Err("this character has no meaning here".into()),
    }
}

/// Returns a string in quotes, in which the quote is doubled, and its length with quotes.
fn quoted(rest: &str, quote: char) -> Result<(usize, String), String> {
    let mut text = String::new();
    let mut characters = rest.char_indices().skip(1).peekable();
    while let Some((at, character)) = characters.next() {
        if character == quote && characters.next_if(|(_, next)| *next == quote).is_none() {
            return Ok((at + 1, text));
        }
        text.push(character);
    }
    Err(format!("this text has no end; close it by `{quote}`"))
}

/// Digits, with a fraction and an exponent.
fn number_length(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let digits = |from: usize| bytes.iter().skip(from).take_while(|byte| byte.is_ascii_digit()).count();
    let mut length = digits(0);
    if bytes.get(length) == Some(&b'.') {
        length += 1 + digits(length + 1);
    }
    if matches!(bytes.get(length), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(length + 1), Some(b'+' | b'-')));
        let exponent = digits(length + 1 + sign);
        length += if exponent > 0 { 1 + sign + exponent } else { 0 };
    }
    length
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    end: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|(_, token)| token)
    }

    /// Returns the position of the next token.
    fn at(&self) -> usize {
        self.tokens.get(self.next).map_or(self.end, |(at, _)| *at)
    }

    fn expected(&self, what: &str) -> Mistake {
        Mistake::new(self.at(), format!("expected {what}"))
    }

    fn take(&mut self, token: &Token) -> bool {
        let taken = self.peek() == Some(token);
        self.next += usize::from(taken);
        taken
    }

    fn word(&mut self, word: &str) -> bool {
        let taken = matches!(self.peek(), Some(Token::Word(next)) if next.eq_ignore_ascii_case(word));
        self.next += usize::from(taken);
        taken
    }

    /// Descends one level; the caller ascends by subtracting from `depth`.
    fn descend(&mut self) -> Result<(), Mistake> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Mistake::new(
                self.at(),
                format!("the expression is nested too deeply; {DEPTH_MAX} levels at most"),
            ));
        }
        Ok(())
    }

    fn condition(&mut self) -> Result<Expression, Mistake> {
        let mut left = self.conjunction()?;
        while self.word("or") {
            let right = self.conjunction()?;
            left = Expression { at: left.at, kind: Kind::Or(Box::new(left), Box::new(right)) };
        }
        Ok(left)
    }

    fn conjunction(&mut self) -> Result<Expression, Mistake> {
        let mut left = self.negation()?;
        while self.word("and") {
            let right = self.negation()?;
            left = Expression { at: left.at, kind: Kind::And(Box::new(left), Box::new(right)) };
        }
        Ok(left)
    }

    fn negation(&mut self) -> Result<Expression, Mistake> {
        let at = self.at();
        if !self.word("not") {
            return self.comparison();
        }
        self.descend()?;
        let inner = self.negation()?;
        self.depth -= 1;
        Ok(Expression { at, kind: Kind::Not(Box::new(inner)) })
    }

    fn comparison(&mut self) -> Result<Expression, Mistake> {
        let left = self.value()?;
        let at = self.at();
        if self.word("is") {
            let negated = self.word("not");
            if !self.word("null") {
                return Err(self.expected("`null`"));
            }
            return Ok(Expression { at: left.at, kind: Kind::IsNull { value: Box::new(left), negated } });
        }
        let Some(Token::Compare(comparison)) = self.peek() else { return Ok(left) };
        let comparison = *comparison;
        self.next += 1;
        let right = self.value()?;
        Ok(Expression { at, kind: Kind::Compare(comparison, Box::new(left), Box::new(right)) })
    }

    fn value(&mut self) -> Result<Expression, Mistake> {
        let at = self.at();
        if self.take(&Token::Open) {
            self.descend()?;
            let inner = self.condition()?;
            self.depth -= 1;
            return if self.take(&Token::Close) { Ok(inner) } else { Err(self.expected("`)`")) };
        }
        let negative = self.take(&Token::Minus);
        let kind = match self.peek().cloned() {
            Some(Token::Number(digits)) => number(&digits, negative).map_err(|message| Mistake::new(at, message))?,
            _ if negative => return Err(self.expected("a number")),
            Some(Token::Text(text)) => Kind::Text(text),
            Some(Token::Quoted(name)) => Kind::Column(name),
            Some(Token::Word(word)) => match word.to_ascii_lowercase().as_str() {
                "true" => Kind::Bool(true),
                "false" => Kind::Bool(false),
                "and" | "or" | "not" | "is" | "null" => return Err(self.expected("a value")),
                _ => Kind::Column(word),
            },
            _ => return Err(self.expected("a value")),
        };
        self.next += 1;
        Ok(Expression { at, kind })
    }
}

fn number(digits: &str, negative: bool) -> Result<Kind, String> {
    let text = if negative { format!("-{digits}") } else { digits.to_owned() };
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map(Kind::Int).map_err(|_| "this number is too large for int64".into());
    }
    text.parse().map(Kind::Float).map_err(|_| "this is not a number".into())
}
