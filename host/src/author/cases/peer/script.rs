//! The script of a peer of a case: a text file of rules. A line after `>` is a received message, and the lines after
//! `<` below it are the response:
//!
//! ```text
//! let last = 0
//!
//! > COMMIT {last}
//! < LAST {last}
//! ```
//!
//! `{last}` captures text in a message, and is replaced in responses. `{_}` matches anything. `from {n}` skips the
//! first records, `close` closes the connection after them. Records before the first rule are sent without a request.
//! This module does no I/O.

use super::escape::unescape;
use std::collections::BTreeMap;

/// The captured values of a peer, by name.
pub type Values = BTreeMap<String, Vec<u8>>;

/// The rules of a peer.
#[derive(Debug, Default)]
pub struct Script {
    /// The initial values.
    pub values: Values,
    /// The records that are sent without a request.
    pub greeting: PeerReply,
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    received: Vec<Token>,
    latest_reply: PeerReply,
}

/// A response.
#[derive(Debug, Default)]
pub struct PeerReply {
    records: Vec<Vec<Token>>,
    from: Option<Vec<Token>>,
    closes: bool,
}

/// A response with its values filled in.
#[derive(Debug, Default, PartialEq)]
pub struct Reply {
    /// All records.
    pub records: Vec<Vec<u8>>,
    /// The number of first records that are skipped.
    pub from: usize,
    /// Whether this is the last response on the connection.
    pub closes: bool,
}

/// A token of a line.
#[derive(Debug)]
enum Token {
    Bytes(Vec<u8>),
    Value { name: String, form: ValueForm },
}

/// The encoding of a value.
#[derive(Clone, Copy, Debug, PartialEq)]
enum ValueForm {
    /// Unchanged text.
    Text,
    /// An unsigned big-endian integer of this many bytes, captured as decimal digits.
    Number(usize),
}

/// The name that matches anything.
const ANYTHING: &str = "_";

impl Script {
    /// Parses a script. An error names the line.
    pub fn read(text: &str) -> Result<Script, String> {
        let mut script = Script::default();
        for (number, line) in (1..).zip(text.lines()) {
            script.line(line).map_err(|message| format!("{number}: {message}"))?;
        }
        Ok(script)
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        let after = |sign: &str| match line.strip_prefix(sign) {
            Some("") => Some(""),
            Some(rest) => rest.strip_prefix(' '),
            None => None,
        };
        if line.trim().is_empty() || line.starts_with('#') {
            return Ok(());
        }
        if let Some(text) = after(">") {
            let received = tokens(text)?;
            let values =
                |pair: &[Token]| pair.iter().all(|token| matches!(token, Token::Value { form: ValueForm::Text, .. }));
            if received.windows(2).any(values) {
                return Err("two names without text between them, so the end of the first is unknown".into());
            }
            self.rules.push(Rule { received, latest_reply: PeerReply::default() });
        } else if let Some(text) = after("<") {
            let record = self.check_names(tokens(text)?)?;
            self.latest_reply().records.push(record);
        } else if let Some(text) = after("from") {
            self.latest_reply().from = Some(self.check_names(tokens(text)?)?);
        } else if line == "close" {
            self.latest_reply().closes = true;
        } else if let Some((name, value)) = after("let").and_then(|text| text.split_once('=')) {
            let name = name.trim();
            if !is_name(name) || name == ANYTHING {
                return Err(format!("`{name}` is not a name; use a-z, 0-9 and `_`"));
            }
            self.values.insert(name.into(), unescape(value.trim())?);
        } else {
            return Err(format!(
                "`{line}` is not one of: > received text, < reply, from {{name}}, close, let name = value, # comment"
            ));
        }
        Ok(())
    }

    /// Returns the response to which the current line belongs.
    fn latest_reply(&mut self) -> &mut PeerReply {
        match self.rules.last_mut() {
            Some(rule) => &mut rule.latest_reply,
            None => &mut self.greeting,
        }
    }

    /// Returns the tokens if their names always have values when they are sent.
    fn check_names(&self, tokens: Vec<Token>) -> Result<Vec<Token>, String> {
        let received = self.rules.last().map(|rule| rule.received.as_slice()).unwrap_or_default();
        let is_received =
            |of: &str| received.iter().any(|token| matches!(token, Token::Value { name, .. } if name == of));
        let unknown = tokens.iter().find_map(|token| match token {
            Token::Value { name, .. } if name == ANYTHING || !(is_received(name) || self.values.contains_key(name)) => {
                Some(name)
            }
            _ => None,
        });
        match unknown {
            None => Ok(tokens),
            Some(name) => Err(format!(
                "`{{{name}}}` has no value here: write it in the line after `>`, or `let {name} = …` above; for the \
                literal text, write \\{{{name}}}"
            )),
        }
    }

    /// Returns the response of the first matching rule, or `None` if there is none.
    pub fn received(&self, received: &[u8], values: &mut Values) -> Option<Result<Reply, String>> {
        self.rules.iter().find_map(|rule| {
            let mut found = Values::new();
            matches(&rule.received, received, &mut found).then(|| {
                values.append(&mut found);
                rule.latest_reply.reply(values)
            })
        })
    }
}

impl PeerReply {
    /// Fills in these values.
    pub fn reply(&self, values: &Values) -> Result<Reply, String> {
        let records = self.records.iter().map(|record| fill(record, values)).collect::<Result<_, _>>()?;
        let from = match &self.from {
            None => 0,
            Some(from) => number(&fill(from, values)?)?.try_into().unwrap_or(usize::MAX),
        };
        Ok(Reply { records, from, closes: self.closes })
    }
}

/// Returns whether a message matches the tokens. A name matches as little as possible, and at the end the rest.
fn matches(tokens: &[Token], received: &[u8], found: &mut Values) -> bool {
    let Some((first, rest)) = tokens.split_first() else { return received.is_empty() };
    let (value, remaining) = match first {
        Token::Bytes(bytes) => match received.strip_prefix(bytes.as_slice()) {
            Some(remaining) => return matches(rest, remaining, found),
            None => return false,
        },
        Token::Value { form: ValueForm::Number(bytes), .. } => match received.split_at_checked(*bytes) {
            Some((value, remaining)) => {
                (value.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)).to_string().into_bytes(), remaining)
            }
            None => return false,
        },
        Token::Value { form: ValueForm::Text, .. } => {
            let end = match rest {
                [] => Some(received.len()),
                [Token::Bytes(bytes)] => received.len().checked_sub(bytes.len()),
                [Token::Bytes(bytes), ..] => received.windows(bytes.len()).position(|piece| piece == bytes),
                [Token::Value { .. }, ..] => Some(0),
            };
            match end.and_then(|end| received.split_at_checked(end)) {
                Some((value, remaining)) => (value.to_vec(), remaining),
                None => return false,
            }
        }
    };
    if let Token::Value { name, .. } = first
        && name != ANYTHING
    {
        found.insert(name.clone(), value);
    }
    matches(rest, remaining, found)
}

fn fill(tokens: &[Token], values: &Values) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    for token in tokens {
        match token {
            Token::Bytes(more) => bytes.extend_from_slice(more),
            Token::Value { name, form } => {
                let value = values.get(name).map(Vec::as_slice).unwrap_or_default();
                match form {
                    ValueForm::Text => bytes.extend_from_slice(value),
                    ValueForm::Number(count) => {
                        let number = number(value)?.to_be_bytes();
                        bytes.extend_from_slice(number.get(number.len().saturating_sub(*count)..).unwrap_or_default());
                    }
                }
            }
        }
    }
    Ok(bytes)
}

fn number(digits: &[u8]) -> Result<u64, String> {
    let text = String::from_utf8_lossy(digits);
    text.parse().map_err(|_| format!("`{text}` is not an integer"))
}

fn is_name(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    !text.is_empty() && text.chars().all(is_word)
}

/// Splits a line into tokens. Braces without a name are literal, as those of JSON are.
fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let (mut tokens, mut plain, mut rest) = (Vec::new(), String::new(), text);
    while let Some(c) = rest.chars().next() {
        if let Some((token, remaining)) = rest.strip_prefix('{').and_then(value) {
            if !plain.is_empty() {
                tokens.push(Token::Bytes(unescape(&plain)?));
                plain.clear();
            }
            tokens.push(token);
            rest = remaining;
            continue;
        }
        // A character after a backslash is not a brace.
        let bytes = if c == '\\' { 1 + rest[1..].chars().next().map_or(0, char::len_utf8) } else { c.len_utf8() };
        let (taken, remaining) = rest.split_at(bytes);
        plain.push_str(taken);
        rest = remaining;
    }
    if !plain.is_empty() {
        tokens.push(Token::Bytes(unescape(&plain)?));
    }
    Ok(tokens)
}

/// Parses `name}` or `name:u64}`, and returns the rest.
fn value(text: &str) -> Option<(Token, &str)> {
    let (inside, remaining) = text.split_once('}')?;
    let (name, form) = match inside.split_once(':') {
        None => (inside, ValueForm::Text),
        Some((name, "u8")) => (name, ValueForm::Number(1)),
        Some((name, "u16")) => (name, ValueForm::Number(2)),
        Some((name, "u32")) => (name, ValueForm::Number(4)),
        Some((name, "u64")) => (name, ValueForm::Number(8)),
        Some(_) => return None,
    };
    is_name(name).then(|| (Token::Value { name: name.into(), form }, remaining))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(script: &Script, values: &mut Values, received: &[u8]) -> Option<Vec<String>> {
        let reply = script.received(received, values)?.unwrap();
        let records = reply.records.iter().skip(reply.from);
        Some(records.map(|record| String::from_utf8_lossy(record).into_owned()).collect())
    }

    #[test]
    fn the_first_rule_that_fits_answers_with_what_was_heard() {
        let text = "let last = 0\n# a remark\n\n> OPEN {_} {generation}\n< LAST {last}\n> COMMIT {last}\n< LAST {last}\n< ok\n> ROW {_}\n";
        let script = Script::read(text).unwrap();
        let mut values = script.values.clone();
        assert_eq!(metadata(&script, &mut values, b"OPEN a/b 7"), Some(vec!["LAST 0".into()]));
        assert_eq!(metadata(&script, &mut values, b"ROW "), Some(vec![]));
        assert_eq!(metadata(&script, &mut values, b"ROW"), None);
        assert_eq!(metadata(&script, &mut values, b"COMMIT 3"), Some(vec!["LAST 3".into(), "ok".into()]));
        assert_eq!(metadata(&script, &mut values, b"OPEN a/b 8"), Some(vec!["LAST 3".into()]));
        assert_eq!(values["generation"], b"8");
    }

    #[test]
    fn answers_may_begin_in_the_middle_and_end_the_connection() {
        let script = Script::read("< hello\n> FROM {n}\nfrom {n}\n< a\n< b\n< c\nclose\n").unwrap();
        let mut values = Values::new();
        assert_eq!(script.greeting.reply(&values).unwrap().records, [b"hello"]);
        assert_eq!(metadata(&script, &mut values, b"FROM 1"), Some(vec!["b".into(), "c".into()]));
        assert_eq!(metadata(&script, &mut values, b"FROM 9"), Some(vec![]));
        assert!(script.received(b"FROM 1", &mut values).unwrap().unwrap().closes);
        assert_eq!(script.received(b"FROM x", &mut values).unwrap(), Err("`x` is not an integer".into()));
    }

    #[test]
    fn bytes_and_numbers_of_fixed_protocols() {
        let script =
            Script::read("> MTR\\x31{n:u64}\n< {n:u16}\\0\\n\\{n}\n> {\"a\":{n}}\n< {\"b\":\"{n}\"}\n").unwrap();
        let mut values = Values::new();
        let reply = script.received(b"MTR1\0\0\0\0\0\0\x01\x02", &mut values).unwrap().unwrap();
        assert_eq!(reply.records, [b"\x01\x02\0\n{n}"]);
        assert_eq!(metadata(&script, &mut values, b"{\"a\":[1]}"), Some(vec!["{\"b\":\"[1]\"}".into()]));
        assert!(script.received(b"MTR1\0", &mut values).is_none());
    }

    #[test]
    fn a_name_stands_for_as_little_as_it_can() {
        let script = Script::read("> {a} {b}\n< {a}|{b}\n> {a}-end\n< {a}\n").unwrap();
        let mut values = Values::new();
        assert_eq!(metadata(&script, &mut values, b"x y z"), Some(vec!["x|y z".into()]));
        assert_eq!(metadata(&script, &mut values, b"x-end-end"), Some(vec!["x-end".into()]));
    }

    #[test]
    fn mistakes_name_the_line() {
        for (text, message) in [
            ("> a\n+ b", "2: `+ b` is not one of: >"),
            ("> {a}{b}", "1: two names without text between them"),
            ("> a\n< {b}", "2: `{b}` has no value here"),
            ("> a {_}\n< {_}", "2: `{_}` has no value here"),
            ("from {n}", "1: `{n}` has no value here"),
            ("let A = 1", "1: `A` is not a name"),
            ("> \\q", "1: `\\q` is not an escape"),
            ("> \\x4", "1: `\\x4` is not a byte"),
            (">a", "1: `>a` is not one of"),
        ] {
            let error = Script::read(text).unwrap_err();
            assert!(error.starts_with(message), "{text}: {error}");
        }
    }
}
