//! What a peer of a case says: a text file of rules. A line behind `>` is what it hears, those behind `<` below it are what it
//! answers:
//!
//! ```text
//! let last = 0
//!
//! > COMMIT {last}
//! < LAST {last}
//! ```
//!
//! `{last}` keeps what stood there, and is put in where it is said; `{_}` stands for anything. `from {n}` leaves out the first answers,
//! `close` closes the connection behind them. What stands before the first rule is said without being asked. Nothing here reads
//! or sends anything.

use super::escape::unescaped;
use std::collections::BTreeMap;

/// What a peer keeps of what it heard, by name.
pub type Values = BTreeMap<String, Vec<u8>>;

/// The rules of a peer.
#[derive(Debug, Default)]
pub struct Script {
    /// What it keeps at first.
    pub values: Values,
    /// What it says without being asked.
    pub greeting: Answer,
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    heard: Vec<Token>,
    answer: Answer,
}

/// What is said at once.
#[derive(Debug, Default)]
pub struct Answer {
    records: Vec<Vec<Token>>,
    from: Option<Vec<Token>>,
    closes: bool,
}

/// The same with its values put in.
#[derive(Debug, Default, PartialEq)]
pub struct Reply {
    /// All records.
    pub records: Vec<Vec<u8>>,
    /// How many of the first are left out.
    pub from: usize,
    /// Whether nothing more is said on this connection.
    pub closes: bool,
}

/// A piece of a line.
#[derive(Debug)]
enum Token {
    Bytes(Vec<u8>),
    Value { name: String, form: ValueForm },
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq)]
enum ValueForm {
    /// As it stands.
    Text,
    /// A whole number without sign in so many bytes, the highest first; kept in decimal digits.
    Number(usize),
}

/// Stands for anything.
const ANYTHING: &str = "_";

impl Script {
    /// Reads a script; an error names the line.
    pub fn read(text: &str) -> Result<Script, String> {
        let mut script = Script::default();
        for (number, line) in (1..).zip(text.lines()) {
            script.line(line).map_err(|words| format!("{number}: {words}"))?;
        }
        Ok(script)
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        let behind = |sign: &str| match line.strip_prefix(sign) {
            Some("") => Some(""),
            Some(rest) => rest.strip_prefix(' '),
            None => None,
        };
        if line.trim().is_empty() || line.starts_with('#') {
            return Ok(());
        }
        if let Some(text) = behind(">") {
            let heard = tokens(text)?;
            let values =
                |pair: &[Token]| pair.iter().all(|token| matches!(token, Token::Value { form: ValueForm::Text, .. }));
            if heard.windows(2).any(values) {
                return Err("two names without text between them, so the end of the first is unknown".into());
            }
            self.rules.push(Rule { heard, answer: Answer::default() });
        } else if let Some(text) = behind("<") {
            let record = self.known(tokens(text)?)?;
            self.answer().records.push(record);
        } else if let Some(text) = behind("from") {
            self.answer().from = Some(self.known(tokens(text)?)?);
        } else if line == "close" {
            self.answer().closes = true;
        } else if let Some((name, value)) = behind("let").and_then(|text| text.split_once('=')) {
            let name = name.trim();
            if !is_name(name) || name == ANYTHING {
                return Err(format!("`{name}` is not a name; use a-z, 0-9 and `_`"));
            }
            self.values.insert(name.into(), unescaped(value.trim())?);
        } else {
            return Err(format!(
                "`{line}` is not one of: > received text, < reply, from {{name}}, close, let name = value, # comment"
            ));
        }
        Ok(())
    }

    /// What the line at hand belongs to.
    fn answer(&mut self) -> &mut Answer {
        match self.rules.last_mut() {
            Some(rule) => &mut rule.answer,
            None => &mut self.greeting,
        }
    }

    /// These, if their names have values whenever they are said.
    fn known(&self, tokens: Vec<Token>) -> Result<Vec<Token>, String> {
        let heard = self.rules.last().map(|rule| rule.heard.as_slice()).unwrap_or_default();
        let is_heard = |of: &str| heard.iter().any(|token| matches!(token, Token::Value { name, .. } if name == of));
        let unknown = tokens.iter().find_map(|token| match token {
            Token::Value { name, .. } if name == ANYTHING || !(is_heard(name) || self.values.contains_key(name)) => {
                Some(name)
            }
            _ => None,
        });
        match unknown {
            None => Ok(tokens),
            Some(name) => Err(format!(
                "`{{{name}}}` has no value here: write it in the line after `>`, or `let {name} = …` above; the text itself is \\{{{name}}}"
            )),
        }
    }

    /// What is answered to this, by the first rule that fits; `None`: none does.
    pub fn heard(&self, heard: &[u8], values: &mut Values) -> Option<Result<Reply, String>> {
        self.rules.iter().find_map(|rule| {
            let mut found = Values::new();
            fits(&rule.heard, heard, &mut found).then(|| {
                values.append(&mut found);
                rule.answer.said(values)
            })
        })
    }
}

impl Answer {
    /// With these values.
    pub fn said(&self, values: &Values) -> Result<Reply, String> {
        let records = self.records.iter().map(|record| filled(record, values)).collect::<Result<_, _>>()?;
        let from = match &self.from {
            None => 0,
            Some(from) => number(&filled(from, values)?)?.try_into().unwrap_or(usize::MAX),
        };
        Ok(Reply { records, from, closes: self.closes })
    }
}

/// Whether a message is as the tokens say; a name stands for as little as it can, at the end for all that is left.
fn fits(tokens: &[Token], heard: &[u8], found: &mut Values) -> bool {
    let Some((first, rest)) = tokens.split_first() else { return heard.is_empty() };
    let (value, left) = match first {
        Token::Bytes(bytes) => match heard.strip_prefix(bytes.as_slice()) {
            Some(left) => return fits(rest, left, found),
            None => return false,
        },
        Token::Value { form: ValueForm::Number(bytes), .. } => match heard.split_at_checked(*bytes) {
            Some((value, left)) => {
                (value.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)).to_string().into_bytes(), left)
            }
            None => return false,
        },
        Token::Value { form: ValueForm::Text, .. } => {
            let end = match rest {
                [] => Some(heard.len()),
                [Token::Bytes(bytes)] => heard.len().checked_sub(bytes.len()),
                [Token::Bytes(bytes), ..] => heard.windows(bytes.len()).position(|piece| piece == bytes),
                [Token::Value { .. }, ..] => Some(0),
            };
            match end.and_then(|end| heard.split_at_checked(end)) {
                Some((value, left)) => (value.to_vec(), left),
                None => return false,
            }
        }
    };
    if let Token::Value { name, .. } = first
        && name != ANYTHING
    {
        found.insert(name.clone(), value);
    }
    fits(rest, left, found)
}

fn filled(tokens: &[Token], values: &Values) -> Result<Vec<u8>, String> {
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

/// The pieces of a line. Braces that hold no name stand for themselves, as those of JSON do.
fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let (mut tokens, mut plain, mut rest) = (Vec::new(), String::new(), text);
    while let Some(c) = rest.chars().next() {
        if let Some((token, left)) = rest.strip_prefix('{').and_then(value) {
            if !plain.is_empty() {
                tokens.push(Token::Bytes(unescaped(&plain)?));
                plain.clear();
            }
            tokens.push(token);
            rest = left;
            continue;
        }
        // Whatever stands behind a backslash is no brace.
        let bytes = if c == '\\' { 1 + rest[1..].chars().next().map_or(0, char::len_utf8) } else { c.len_utf8() };
        let (taken, left) = rest.split_at(bytes);
        plain.push_str(taken);
        rest = left;
    }
    if !plain.is_empty() {
        tokens.push(Token::Bytes(unescaped(&plain)?));
    }
    Ok(tokens)
}

/// `name}` or `name:u64}`, and what stands behind it.
fn value(text: &str) -> Option<(Token, &str)> {
    let (inside, left) = text.split_once('}')?;
    let (name, form) = match inside.split_once(':') {
        None => (inside, ValueForm::Text),
        Some((name, "u8")) => (name, ValueForm::Number(1)),
        Some((name, "u16")) => (name, ValueForm::Number(2)),
        Some((name, "u32")) => (name, ValueForm::Number(4)),
        Some((name, "u64")) => (name, ValueForm::Number(8)),
        Some(_) => return None,
    };
    is_name(name).then(|| (Token::Value { name: name.into(), form }, left))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(script: &Script, values: &mut Values, heard: &[u8]) -> Option<Vec<String>> {
        let reply = script.heard(heard, values)?.unwrap();
        let records = reply.records.iter().skip(reply.from);
        Some(records.map(|record| String::from_utf8_lossy(record).into_owned()).collect())
    }

    #[test]
    fn the_first_rule_that_fits_answers_with_what_was_heard() {
        let text = "let last = 0\n# a remark\n\n> OPEN {_} {generation}\n< LAST {last}\n> COMMIT {last}\n< LAST {last}\n< ok\n> ROW {_}\n";
        let script = Script::read(text).unwrap();
        let mut values = script.values.clone();
        assert_eq!(said(&script, &mut values, b"OPEN a/b 7"), Some(vec!["LAST 0".into()]));
        assert_eq!(said(&script, &mut values, b"ROW "), Some(vec![]));
        assert_eq!(said(&script, &mut values, b"ROW"), None);
        assert_eq!(said(&script, &mut values, b"COMMIT 3"), Some(vec!["LAST 3".into(), "ok".into()]));
        assert_eq!(said(&script, &mut values, b"OPEN a/b 8"), Some(vec!["LAST 3".into()]));
        assert_eq!(values["generation"], b"8");
    }

    #[test]
    fn answers_may_begin_in_the_middle_and_end_the_connection() {
        let script = Script::read("< hello\n> FROM {n}\nfrom {n}\n< a\n< b\n< c\nclose\n").unwrap();
        let mut values = Values::new();
        assert_eq!(script.greeting.said(&values).unwrap().records, [b"hello"]);
        assert_eq!(said(&script, &mut values, b"FROM 1"), Some(vec!["b".into(), "c".into()]));
        assert_eq!(said(&script, &mut values, b"FROM 9"), Some(vec![]));
        assert!(script.heard(b"FROM 1", &mut values).unwrap().unwrap().closes);
        assert_eq!(script.heard(b"FROM x", &mut values).unwrap(), Err("`x` is not an integer".into()));
    }

    #[test]
    fn bytes_and_numbers_of_fixed_protocols() {
        let script =
            Script::read("> MTR\\x31{n:u64}\n< {n:u16}\\0\\n\\{n}\n> {\"a\":{n}}\n< {\"b\":\"{n}\"}\n").unwrap();
        let mut values = Values::new();
        let reply = script.heard(b"MTR1\0\0\0\0\0\0\x01\x02", &mut values).unwrap().unwrap();
        assert_eq!(reply.records, [b"\x01\x02\0\n{n}"]);
        assert_eq!(said(&script, &mut values, b"{\"a\":[1]}"), Some(vec!["{\"b\":\"[1]\"}".into()]));
        assert!(script.heard(b"MTR1\0", &mut values).is_none());
    }

    #[test]
    fn a_name_stands_for_as_little_as_it_can() {
        let script = Script::read("> {a} {b}\n< {a}|{b}\n> {a}-end\n< {a}\n").unwrap();
        let mut values = Values::new();
        assert_eq!(said(&script, &mut values, b"x y z"), Some(vec!["x|y z".into()]));
        assert_eq!(said(&script, &mut values, b"x-end-end"), Some(vec!["x-end".into()]));
    }

    #[test]
    fn mistakes_name_the_line() {
        for (text, words) in [
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
            let told = Script::read(text).unwrap_err();
            assert!(told.starts_with(words), "{text}: {told}");
        }
    }
}
