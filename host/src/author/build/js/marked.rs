//! A second text of a JavaScript program, in which each statement marks that it runs: `__at(12);`. It is run only to
//! locate a call that took too long, since QuickJS does not report that to the host.
//!
//! The input is what esbuild prints: statements end with `;`. No line is inserted, so the program's source map is valid
//! for the second text. If a program is parsed wrongly, its second text does not run, or has fewer marks. The program
//! itself is unchanged.

mod map;
mod tokens;

pub use map::mappings_of;
use std::fmt::Write as _;
use tokens::{Token, TokenKind, Tokens};

/// The function that marks a position. `MARKS` in `component/trace.ts` of the SDK removes these marks.
pub const AT: &str = "__at";
/// The end of an expression that was put into parentheses.
const END: &str = "/*at*/)";

/// The kind of a bracket or brace, or of the body of an arrow function without them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BracketKind {
    /// The complete program.
    Program,
    /// Statements.
    Block,
    /// The statements of a function.
    Function,
    /// Statements after `case`.
    Switch,
    /// Members of a class.
    Class,
    /// Members of an object, or names.
    Object,
    /// An expression within a template string.
    Template,
    /// `(…)` after a keyword such as `if`.
    Head,
    /// `(…)` after `for`, and whether its first `;` is still to come.
    For(bool),
    /// `(…)` after `switch`.
    Cases,
    /// `(…)` of any other kind, or `[…]`.
    Brackets,
    /// The body of `=>`.
    Arrow,
}

/// An open bracket or brace.
struct OpenBracket {
    inside: BracketKind,
    /// Conditional expressions whose `:` is still to come.
    questions: u32,
    /// Whether the members of a class begin with the next brace.
    class: bool,
    /// Whether the `:` of a `case` or `default` is still to come.
    case: bool,
}

/// Returns the modules of a program for which `is_wanted` holds, by their esbuild names, as a function of the marks
/// that returns the program's exports. Names from other modules and imports are resolved where the function is created.
/// `None` if the program cannot be parsed.
pub fn marked(program: &str, is_wanted: impl Fn(&str) -> bool) -> Option<String> {
    if program.contains(AT) {
        return None;
    }
    let body = as_function(program, is_wanted)?;
    let mut marking = MarkedText { text: &body, out: String::new(), copied: 0, marks: 0, levels: Vec::new() };
    marking.open(BracketKind::Program);
    marking.run()?;
    Some(format!("(function ({AT}) {{ \"use strict\";\n{}}})", marking.out))
}

/// Returns the lines of these modules, and `return` for the program's exports. All other lines are empty.
fn as_function(program: &str, is_wanted: impl Fn(&str) -> bool) -> Option<String> {
    let mut body = String::new();
    let mut wanted = false;
    // Whether its exports are being read, or were read.
    let mut exports = None;
    for line in program.lines() {
        if let Some(module) = line.strip_prefix("// ") {
            wanted = is_wanted(module);
        } else if line == "export {" {
            exports = Some(true);
            body.push_str("return {");
        } else if exports == Some(true) {
            exports = Some(line != "};");
            match line.trim_start().split_once(" as ") {
                Some((own, name)) => {
                    let end = if name.ends_with(',') { "," } else { "" };
                    let _ = write!(body, "  {}: {own}{end}", name.trim_end_matches(','));
                }
                None => body.push_str(line),
            }
        } else if line.starts_with("import \"") || line.starts_with("export ") {
            return None;
        } else if wanted && !line.starts_with("import ") {
            body.push_str(line);
        }
        body.push('\n');
    }
    exports.map(|_| body)
}

/// A string with marks, as far as it is complete.
struct MarkedText<'a> {
    text: &'a str,
    out: String,
    /// The end of the text that was already copied.
    copied: usize,
    marks: u32,
    levels: Vec<OpenBracket>,
}

impl MarkedText<'_> {
    fn run(&mut self) -> Option<()> {
        let mut tokens = Tokens::new(self.text);
        // The kind of the last closed bracket or brace.
        let mut closed = None;
        // Whether a statement may begin with the next token.
        let mut begins = false;
        while let Some(token) = tokens.next(|before| self.divides(before, closed))? {
            if std::mem::take(&mut begins) && !continues_statement(&token) {
                self.mark(token.at, "", ";");
            }
            let before = tokens.before;
            begins = match token.text {
                "(" | "[" | "${" => {
                    let inside = match (token.text, before.map_or("", |before| before.text)) {
                        ("${", _) => BracketKind::Template,
                        ("(", "for") if self.is_code() => BracketKind::For(true),
                        ("(", "switch") if self.is_code() => BracketKind::Cases,
                        ("(", "while" | "if" | "with" | "catch") if self.is_code() => BracketKind::Head,
                        _ => BracketKind::Brackets,
                    };
                    if inside == BracketKind::Head && before.is_some_and(|before| before.text == "while") {
                        self.mark(token.end(), "", ",");
                    }
                    self.open(inside);
                    false
                }
                "{" => {
                    let inside = self.brace(before, closed);
                    self.open(inside);
                    if matches!(inside, BracketKind::Block | BracketKind::Function) {
                        self.mark(token.end(), "", ";");
                    }
                    false
                }
                ")" | "]" | "}" => {
                    self.end_arrows(token.at);
                    let inside = self.levels.pop()?.inside;
                    self.levels.last()?;
                    closed = Some(inside);
                    matches!(inside, BracketKind::Block | BracketKind::Switch) && self.is_among_statements()
                }
                "," => {
                    self.end_arrows(token.at);
                    false
                }
                ";" => {
                    self.end_arrows(token.at);
                    if let Some(OpenBracket { inside: inside @ BracketKind::For(true), .. }) = self.levels.last_mut() {
                        *inside = BracketKind::For(false);
                        let is_empty = self.text.get(token.end()..)?.trim_start().starts_with(';');
                        self.mark(token.end(), "", if is_empty { "" } else { "," });
                    }
                    self.is_among_statements()
                }
                "?" => {
                    self.levels.last_mut()?.questions += 1;
                    false
                }
                ":" => self.colon(token.at)?,
                "=>" => {
                    let rest = self.text.get(token.end()..)?.trim_start();
                    if !rest.starts_with('{') {
                        let at = self.text.len() - rest.len();
                        self.mark(at, "(", ",");
                        self.open(BracketKind::Arrow);
                    }
                    false
                }
                "class" if token.kind == TokenKind::Word && self.is_code() => {
                    self.levels.last_mut()?.class = true;
                    false
                }
                "case" | "default" if token.kind == TokenKind::Word && self.inside() == Some(BracketKind::Switch) => {
                    self.levels.last_mut()?.case = true;
                    false
                }
                _ => false,
            };
            tokens.before = Some(token);
        }
        self.copy(self.text.len());
        self.is_top().then_some(())
    }

    /// Inserts a mark here, between these strings.
    fn mark(&mut self, at: usize, before: &str, after_text: &str) {
        if !self.is_top() || before == "(" {
            self.copy(at);
            let _ = write!(self.out, "{before}{AT}({}){after_text}", self.marks);
            self.marks += 1;
        }
    }

    fn copy(&mut self, to: usize) {
        self.out.push_str(self.text.get(self.copied..to).unwrap_or_default());
        self.copied = to;
    }

    fn open(&mut self, inside: BracketKind) {
        self.levels.push(OpenBracket { inside, questions: 0, class: false, case: false });
    }

    fn inside(&self) -> Option<BracketKind> {
        self.levels.last().map(|level| level.inside)
    }

    /// Returns whether no bracket or brace is open. Statements there run when a component is created, never in a call.
    fn is_top(&self) -> bool {
        self.levels.len() == 1
    }

    /// Returns whether words here are keywords rather than names of members.
    fn is_code(&self) -> bool {
        !matches!(self.inside(), Some(BracketKind::Class | BracketKind::Object))
    }

    fn is_among_statements(&self) -> bool {
        matches!(self.inside(), Some(BracketKind::Block | BracketKind::Function | BracketKind::Switch))
    }

    /// Ends the bodies of arrow functions that end before this position.
    fn end_arrows(&mut self, at: usize) {
        while self.inside() == Some(BracketKind::Arrow) {
            self.end_arrow(at);
        }
    }

    fn end_arrow(&mut self, at: usize) {
        self.levels.pop();
        self.copy(at);
        self.out.push_str(END);
    }

    /// Handles a `:`. Returns whether a statement may begin after it.
    fn colon(&mut self, at: usize) -> Option<bool> {
        while let Some(OpenBracket { inside: BracketKind::Arrow, questions: 0, .. }) = self.levels.last() {
            self.end_arrow(at);
        }
        let level = self.levels.last_mut()?;
        if level.questions > 0 {
            level.questions -= 1;
            return Some(false);
        }
        Some(std::mem::take(&mut level.case))
    }

    /// Returns what an opening brace begins.
    fn brace(&mut self, before: Option<Token<'_>>, closed: Option<BracketKind>) -> BracketKind {
        if self.levels.last_mut().is_some_and(|level| std::mem::take(&mut level.class)) {
            return BracketKind::Class;
        }
        match before.map_or(";", |before| before.text) {
            ")" => match closed {
                Some(BracketKind::Cases) => BracketKind::Switch,
                Some(BracketKind::Head | BracketKind::For(_)) => BracketKind::Block,
                _ => BracketKind::Function,
            },
            "=>" => BracketKind::Function,
            "else" | "do" | "try" | "finally" | "catch" if self.is_code() => BracketKind::Block,
            "static" if self.inside() == Some(BracketKind::Class) => BracketKind::Block,
            ";" | "{" | "}" if self.is_among_statements() || self.is_top() => BracketKind::Block,
            ":" if self.inside() == Some(BracketKind::Switch) => BracketKind::Block,
            _ => BracketKind::Object,
        }
    }

    /// Returns whether a `/` after this token is a division. Otherwise it begins a regular expression.
    fn divides(&self, before: Option<Token<'_>>, closed: Option<BracketKind>) -> bool {
        let Some(before) = before else { return false };
        match before.text {
            ")" => !matches!(closed, Some(BracketKind::Head | BracketKind::For(_))),
            "}" => !matches!(closed, Some(BracketKind::Block | BracketKind::Switch)),
            _ if before.kind == TokenKind::Value => true,
            "]" | "++" | "--" => true,
            "return" | "typeof" | "case" | "do" | "else" | "in" | "instanceof" | "new" | "void" | "delete"
            | "throw" | "yield" | "await" | "of" => false,
            _ => before.kind == TokenKind::Word,
        }
    }
}

/// Returns whether a token continues the previous statement.
fn continues_statement(token: &Token<'_>) -> bool {
    matches!(token.text, "else" | "while" | "catch" | "finally" | "case" | "default" | "}")
}

#[cfg(test)]
mod tests;
