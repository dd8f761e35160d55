//! The tokens of a JavaScript program.

/// The kind of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// A name or a keyword.
    Word,
    /// A number, a string or the end of one, a regular expression.
    Value,
    /// Anything else.
    Sign,
}

/// A token of a program.
#[derive(Clone, Copy, Debug)]
pub struct Token<'a> {
    /// The kind.
    pub kind: TokenKind,
    /// The text. For template strings the part up to the first expression.
    pub text: &'a str,
    /// The position of its start.
    pub at: usize,
}

impl Token<'_> {
    /// Returns the position of its end.
    pub fn end(&self) -> usize {
        self.at + self.text.len()
    }

    /// Returns whether a name after it is that of a member.
    pub fn is_dot(&self) -> bool {
        matches!(self.text, "." | "?.")
    }
}

/// Reads the tokens of a program.
pub struct Tokens<'a> {
    text: &'a str,
    at: usize,
    /// The previous token.
    pub before: Option<Token<'a>>,
    /// The number of open braces within each expression of a template string.
    templates: Vec<u32>,
    /// Whether a template string continues here.
    in_template: bool,
}

impl<'a> Tokens<'a> {
    /// Starts at the beginning.
    pub fn new(text: &'a str) -> Tokens<'a> {
        Tokens { text, at: 0, before: None, templates: Vec::new(), in_template: false }
    }

    /// Returns the next token. `Some(None)` is the end, and `None` means that this is not a program. `divides` returns
    /// whether a `/` is a division.
    pub fn next(&mut self, divides: impl Fn(Option<Token<'a>>) -> bool) -> Option<Option<Token<'a>>> {
        if !self.in_template {
            self.skip()?;
        }
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return (self.templates.is_empty() && !self.in_template).then_some(None);
        };
        let (kind, length) = match first {
            _ if self.in_template => return self.template(0),
            '`' => return self.template(1),
            '/' if !divides(self.before) => (TokenKind::Value, regular_expression(rest)?),
            '"' | '\'' => (TokenKind::Value, text(rest, first)?),
            '0'..='9' => (
                TokenKind::Value,
                rest.find(|c: char| !(c.is_alphanumeric() || c == '.' || c == '_')).unwrap_or(rest.len()),
            ),
            c if is_of_name(c) => {
                let length = rest.find(|c: char| !is_of_name(c)).unwrap_or(rest.len());
                // A name after a dot is never a keyword.
                let is_name = self.before.is_some_and(|before| before.is_dot());
                (if is_name { TokenKind::Value } else { TokenKind::Word }, length)
            }
            _ => (TokenKind::Sign, sign(rest)),
        };
        match rest.get(..length)? {
            "{" => self.templates.last_mut().into_iter().for_each(|open| *open += 1),
            "}" => match self.templates.last_mut() {
                Some(0) => {
                    self.templates.pop();
                    self.in_template = true;
                }
                Some(open) => *open -= 1,
                None => {}
            },
            _ => {}
        }
        self.take(kind, length)
    }

    /// Skips white space and comments.
    fn skip(&mut self) -> Option<()> {
        loop {
            let rest = self.rest().trim_start();
            self.at = self.text.len() - rest.len();
            self.at += match rest.get(..2) {
                Some("//") => rest.find('\n').unwrap_or(rest.len()),
                Some("/*") => rest.find("*/")? + 2,
                _ => return Some(()),
            };
        }
    }

    /// Reads a part of a template string, up to its end or the next expression. `${` is a separate token.
    fn template(&mut self, from: usize) -> Option<Option<Token<'a>>> {
        let rest = self.rest();
        if self.in_template && rest.starts_with("${") {
            self.in_template = false;
            self.templates.push(0);
            return self.take(TokenKind::Sign, 2);
        }
        let mut escaped = false;
        for (index, c) in rest.char_indices().skip(from) {
            match c {
                _ if std::mem::take(&mut escaped) => {}
                '\\' => escaped = true,
                '`' => {
                    self.in_template = false;
                    return self.take(TokenKind::Value, index + 1);
                }
                '$' if rest.get(index..)?.starts_with("${") => {
                    self.in_template = true;
                    return self.take(TokenKind::Value, index);
                }
                _ => {}
            }
        }
        None
    }

    fn take(&mut self, kind: TokenKind, length: usize) -> Option<Option<Token<'a>>> {
        let token = Token { kind, text: self.rest().get(..length)?, at: self.at };
        self.at += length;
        Some(Some(token))
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }
}

fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$' | '#' | '\\' | '\u{200c}' | '\u{200d}')
}

/// Returns the length of a string between these quotes.
fn text(rest: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    let end = rest.char_indices().skip(1).find(|(_, c)| {
        let is_end = !escaped && *c == quote;
        escaped = !escaped && *c == '\\';
        is_end
    })?;
    Some(end.0 + 1)
}

/// Returns the length of a regular expression with its flags.
fn regular_expression(rest: &str) -> Option<usize> {
    let (mut escaped, mut in_class) = (false, false);
    let end = rest.char_indices().skip(1).find(|(_, c)| {
        let is_end = !escaped && !in_class && *c == '/';
        match c {
            _ if escaped => {}
            '[' => in_class = true,
            ']' => in_class = false,
            _ => {}
        }
        escaped = !escaped && *c == '\\';
        is_end || *c == '\n'
    })?;
    let flags = rest.get(end.0 + 1..)?;
    (end.1 == '/').then(|| end.0 + 1 + flags.find(|c: char| !c.is_alphanumeric()).unwrap_or(flags.len()))
}

/// Returns the length of a sign. Signs that matter here are distinguished from longer ones with the same start.
fn sign(rest: &str) -> usize {
    const LONG: [&str; 9] = ["...", "??=", "=>", "?.", "??", "++", "--", "==", "!="];
    let first = rest.chars().next().map_or(1, char::len_utf8);
    let found = LONG.into_iter().find(|sign| rest.starts_with(sign));
    // `a ?.5 : b` is a conditional expression. esbuild prints it this way.
    let is_number = rest.starts_with("?.") && rest.as_bytes().get(2).is_some_and(u8::is_ascii_digit);
    found.filter(|_| !is_number).map_or(first, str::len)
}
