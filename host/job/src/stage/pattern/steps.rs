//! The steps of a pattern as a job file writes them: `small{3} followed by large`.
//!
//! ```text
//! steps      = step (link step)*
//! link       = "next" | "followed" "by" | nothing, which is `next`
//! step       = "not" name | name [quantifier] ["with" "gaps" ("without" name)*]
//! quantifier = ("+" | "*" | "?" | "{n}" | "{n,}" | "{n,m}" | "{,m}") ["?"]
//! ```

use crate::spec::{PatternNots, PatternSkip, PatternStep, PatternSteps};
use millstream_base::limits::{NAME_BYTES_MAX, PATTERN_REPEATS_MAX, PATTERN_STEPS_MAX};

/// Reserved words of `steps` and of conditions, which cannot be names.
const RESERVED: [&str; 10] = ["next", "followed", "by", "not", "with", "gaps", "without", "prev", "first", "last"];

/// An example for messages.
const EXAMPLE: &str = "steps = \"small{3} followed by large\"";

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Number(u64),
    Sign(char),
}

/// Parses steps. The error says what is wrong and what to write.
pub fn parse(text: &str) -> Result<PatternSteps, String> {
    let mut tokens = Tokens { tokens: tokens(text)?, at: 0 };
    let (mut steps, mut waiting): (Vec<PatternStep>, PatternNots) = (Vec::new(), PatternNots::default());
    let (mut names, mut negated_names): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    let mut first = true;
    while !tokens.is_at_end() {
        let relaxed = link(&mut tokens, first)?;
        let negated = tokens.take_keyword("not");
        let name = name(&mut tokens)?;
        if negated {
            negated_names.push(name.clone());
        } else if names.contains(&name) {
            return Err(format!("two steps are named `{name}`; give one of them another name"));
        } else {
            names.push(name.clone());
        }
        if negated {
            if first {
                return Err(format!(
                    "it begins with `not {name}`, and a match begins with a row; write a step in front of it"
                ));
            }
            if matches!(tokens.peek(), Some(Token::Sign(_))) {
                return Err(format!(
                    "`not {name}` matches no rows, so it cannot have a quantifier; remove what follows it"
                ));
            }
            if relaxed { waiting.between.push(name) } else { waiting.next.push(name) }
        } else {
            if !relaxed && !waiting.between.is_empty() {
                let not = waiting.between.join("`, `");
                return Err(format!(
                    "`{name}` directly follows the previous row, so no `{not}` can be between them; write \
                     `followed by {name}`"
                ));
            }
            let (least, most, reluctant) = quantifier(&mut tokens)?;
            let gaps = tokens.take_keyword("with");
            if gaps && !tokens.take_keyword("gaps") {
                return Err(format!("`with` after `{name}` needs `gaps`; write `with gaps`"));
            }
            if gaps && most == Some(1) {
                return Err(format!("`{name} with gaps` takes one row, which has no gaps; remove `with gaps`"));
            }
            let mut gap_nots = Vec::new();
            while tokens.take_keyword("without") {
                if !gaps {
                    return Err(format!(
                        "`without` follows `{name}`, whose rows have no gaps; write `with gaps without …`"
                    ));
                }
                gap_nots.push(self::name(&mut tokens)?);
            }
            negated_names.extend(gap_nots.iter().cloned());
            let nots = std::mem::take(&mut waiting);
            steps.push(PatternStep { name, relaxed, nots, least, most, reluctant, gaps, gap_nots });
        }
        first = false;
    }
    if steps.is_empty() {
        return Err(format!("it has no step; write {EXAMPLE}"));
    }
    if let Some(name) = names.iter().find(|name| negated_names.contains(name)) {
        return Err(format!("`{name}` names a step that takes rows and a step after `not`; rename one of them"));
    }
    names.extend(negated_names);
    if names.len() > PATTERN_STEPS_MAX {
        return Err(format!("it has {} steps; at most {PATTERN_STEPS_MAX} are allowed; split it", names.len()));
    }
    if steps.iter().all(|step| step.least == 0) {
        return Err(
            "every step may be empty, but a match needs at least one row; give a step `+` or no quantifier".into()
        );
    }
    Ok(PatternSteps { text: text.split_whitespace().collect::<Vec<_>>().join(" "), steps, end: waiting })
}

/// Parses `skip`: `past last row`, `to next row`, `to first a`, `to last a`.
pub fn parse_skip(text: &str) -> Option<PatternSkip> {
    match text.split_whitespace().collect::<Vec<_>>().as_slice() {
        ["past", "last", "row"] => Some(PatternSkip::PastLastRow),
        ["to", "next", "row"] => Some(PatternSkip::ToNextRow),
        ["to", "first", name] => Some(PatternSkip::ToFirst((*name).to_owned())),
        ["to", "last", name] => Some(PatternSkip::ToLast((*name).to_owned())),
        _ => None,
    }
}

/// Reads the link to a step; returns whether it is `followed by`.
fn link(tokens: &mut Tokens, first: bool) -> Result<bool, String> {
    let relaxed = tokens.take_keyword("followed");
    if relaxed && !tokens.take_keyword("by") {
        return Err("there is `followed` without `by`; write `followed by`".into());
    }
    let linked = relaxed || tokens.take_keyword("next");
    if linked && first {
        return Err(format!("it begins with a separator of steps; write {EXAMPLE}"));
    }
    Ok(relaxed)
}

fn name(tokens: &mut Tokens) -> Result<String, String> {
    let word = match tokens.next() {
        Some(Token::Word(word)) => word,
        Some(other) => return Err(format!("expected the name of a step, found `{other}`; write {EXAMPLE}")),
        None => return Err(format!("it ends before the name of a step; write {EXAMPLE}")),
    };
    if RESERVED.contains(&word.to_lowercase().as_str()) {
        return Err(format!("`{word}` is reserved and cannot be the name of a step; choose another name"));
    }
    if word.len() > NAME_BYTES_MAX {
        return Err(format!("the name of a step has {} bytes; write one of at most {NAME_BYTES_MAX}", word.len()));
    }
    Ok(word)
}

/// Reads the minimum and maximum number of rows, and whether as few as possible are taken.
fn quantifier(tokens: &mut Tokens) -> Result<(u32, Option<u32>, bool), String> {
    let (least, most) = match tokens.peek() {
        Some(Token::Sign('+')) => (1, None),
        Some(Token::Sign('*')) => (0, None),
        Some(Token::Sign('?')) => (0, Some(1)),
        Some(Token::Sign('{')) => return braces(tokens),
        Some(Token::Sign(other)) => {
            return Err(format!("expected a quantifier, found `{other}`; write `{{3}}`"));
        }
        _ => return Ok((1, Some(1), false)),
    };
    tokens.next();
    Ok((least, most, tokens.sign('?')))
}

/// `{n}`, `{n,}`, `{n,m}`, `{,m}`
fn braces(tokens: &mut Tokens) -> Result<(u32, Option<u32>, bool), String> {
    tokens.next();
    let wrong = || "`{ }` must contain a number of rows; write `{3}`, `{3,}`, `{,5}` or `{3,5}`".to_owned();
    let least = tokens.number();
    let (least, most) =
        if tokens.sign(',') { (least.unwrap_or(0), tokens.number()) } else { (least.ok_or_else(wrong)?, least) };
    if !tokens.sign('}') {
        return Err(wrong());
    }
    let largest = most.unwrap_or(least).max(least);
    if largest > u64::from(PATTERN_REPEATS_MAX) {
        return Err(format!("`{{{largest}}}` is too large; write at most {PATTERN_REPEATS_MAX}"));
    }
    if most.is_some_and(|most| most < least || most == 0) {
        return Err(format!(
            "{least} to {} rows is an empty range; write the smaller number first, and at least 1",
            most.unwrap_or_default()
        ));
    }
    Ok((least as u32, most.map(|most| most as u32), tokens.sign('?')))
}

struct Tokens {
    tokens: Vec<Token>,
    at: usize,
}

impl Tokens {
    fn is_at_end(&self) -> bool {
        self.at >= self.tokens.len()
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.at += 1;
        token
    }

    /// Reads this word, if it is next.
    fn take_keyword(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(here)) if here.eq_ignore_ascii_case(word));
        self.at += usize::from(found);
        found
    }

    /// Reads this sign, if it is next.
    fn sign(&mut self, sign: char) -> bool {
        let found = self.peek() == Some(&Token::Sign(sign));
        self.at += usize::from(found);
        found
    }

    fn number(&mut self) -> Option<u64> {
        let Some(Token::Number(number)) = self.peek() else { return None };
        let number = *number;
        self.at += 1;
        Some(number)
    }
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Token::Word(word) => f.write_str(word),
            Token::Number(number) => write!(f, "{number}"),
            Token::Sign(sign) => write!(f, "{sign}"),
        }
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let taken = if c.is_whitespace() {
            c.len_utf8()
        } else if c.is_ascii_digit() {
            let length = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let number =
                rest[..length].parse().map_err(|_| format!("`{}` is too large a number", &rest[..length.min(40)]))?;
            tokens.push(Token::Number(number));
            length
        } else if c.is_ascii_alphabetic() || c == '_' {
            let length = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..length].to_owned()));
            length
        } else if "+*?{},".contains(c) {
            tokens.push(Token::Sign(c));
            1
        } else {
            let shown = c.escape_debug();
            return Err(match c {
                '(' | ')' | '|' => format!(
                    "`{shown}` groups steps or chooses between them, which is not available; write a sequence, and conditions with \
                     `or`"
                ),
                '-' => format!(
                    "`{shown}` is not allowed in steps, whose names contain a-z, A-Z, 0-9 and `_`; write {EXAMPLE}"
                ),
                _ => format!("`{shown}` is not allowed in steps; write {EXAMPLE}"),
            });
        };
        rest = &rest[taken..];
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &str) -> PatternStep {
        let nots = PatternNots::default();
        PatternStep {
            name: name.into(),
            relaxed: false,
            nots,
            least: 1,
            most: Some(1),
            reluctant: false,
            gaps: false,
            gap_nots: Vec::new(),
        }
    }

    #[test]
    fn steps_are_read() {
        let read =
            parse("a{3} followed by not x followed by  b+? with gaps without x without z next c* d?? e{2,} f{,4} g{1,2}? next not y")
                .unwrap();
        let nots = PatternNots { next: vec![], between: vec!["x".into()] };
        assert_eq!(
            read.steps,
            [
                PatternStep { least: 3, most: Some(3), ..step("a") },
                PatternStep {
                    relaxed: true,
                    nots,
                    most: None,
                    reluctant: true,
                    gaps: true,
                    gap_nots: vec!["x".into(), "z".into()],
                    ..step("b")
                },
                PatternStep { least: 0, most: None, ..step("c") },
                PatternStep { least: 0, reluctant: true, ..step("d") },
                PatternStep { least: 2, most: None, ..step("e") },
                PatternStep { least: 0, most: Some(4), ..step("f") },
                PatternStep { most: Some(2), reluctant: true, ..step("g") },
            ]
        );
        assert_eq!(read.end, PatternNots { next: vec!["y".into()], between: vec![] });
        assert_eq!(parse_skip(" to  last b"), Some(PatternSkip::ToLast("b".into())));
        assert_eq!(parse_skip("past the last row"), None);
    }

    #[test]
    fn mistakes_are_told() {
        for (text, expected) in [
            ("", "no step"),
            ("next a", "begins with a separator"),
            ("a followed b", "without `by`"),
            ("a next", "ends before the name"),
            ("not a b", "begins with `not a`"),
            ("a next not b+", "cannot have a quantifier"),
            ("a followed by not x next b", "followed by b"),
            ("a a", "two steps"),
            ("a followed by not a", "a step that takes rows and a step after `not`"),
            ("a{2} without b", "no gaps"),
            ("a? b*", "every step"),
            ("a{2,1}", "smaller number first"),
            ("a{0}", "smaller number first"),
            ("a{x}", "must contain a number"),
            ("a{3", "must contain a number"),
            ("a{99999999999999999999}", "too large"),
            ("a{9999999}", "is too large; write at most"),
            ("(a b)", "not available"),
            ("first b", "is reserved"),
            ("a with b", "needs `gaps`"),
            ("a with gaps", "takes one row"),
            ("a ++", "expected the name of a step"),
            ("a; b", "is not allowed in steps"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
