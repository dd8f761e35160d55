//! Sanitizes text from outside before a person sees it. Rows, files, servers and plugins can contain anything: characters that control a terminal,
//! that change the direction of text, or a line that looks like a message of Millstream.
//!
//! All output goes through here at the last moment: errors when they are displayed, log lines when they are written ([`message`]), the output of
//! commands ([`text`]), cells and names in tables ([`harmless`]). So code that builds messages need not handle it. Text of a plugin that is *stored*
//! is sanitized when it arrives ([`printable`]), as other programs may show it.

use crate::secrets;
use std::borrow::Cow;
use std::fmt::Write as _;

/// Maximum bytes of one message; longer ones are cut.
const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// Prefix of the lines of a message after the first.
const INDENT: &str = "  ";

/// Returns whether a character is unsafe. These are control characters, and separators of lines and paragraphs. They are also marks, embeddings,
/// overrides and isolates of direction, which change how text reads ("Trojan Source", Boucher and Anderson 2021), and invisible tags.
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Sanitizes text of several lines, for example the output of a command. All unsafe characters except line ends are escaped as in JSON, so JSON
/// keeps its meaning.
pub fn text(text: &str) -> Cow<'_, str> {
    let is_good = |c: char| matches!(c, '\n' | '\t') || !is_unsafe(c);
    if text.chars().all(is_good) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\r' if chars.peek() == Some(&'\n') => {}
            c if is_good(c) => shown.push(c),
            c => escape(&mut shown, c),
        }
    }
    Cow::Owned(shown)
}

/// Sanitizes one message, for example an error or a log line: like [`text`], without [hidden](secrets) values. If a line after the first begins at
/// the margin, all of them are indented, so that none looks like a separate message.
pub fn message(message: &str) -> String {
    let message = &*secrets::hide(message);
    let cut = message.floor_char_boundary(MESSAGE_BYTES_MAX);
    let mut shown = String::with_capacity(cut);
    let lines = || message[..cut].trim_end_matches('\n').split('\n');
    let is_indented = |line: &str| line.is_empty() || line == "\r" || line.starts_with(INDENT);
    let indent = if lines().skip(1).all(is_indented) { "" } else { INDENT };
    for (number, line) in lines().enumerate() {
        if number > 0 {
            shown.push('\n');
            if !line.is_empty() {
                shown.push_str(indent);
            }
        }
        shown.push_str(&text(line.strip_suffix('\r').unwrap_or(line)));
    }
    if cut < message.len() {
        let _ = write!(shown, "… (and {} more bytes)", message.len() - cut);
    }
    shown
}

/// Sanitizes a name or a cell within a line, cut to `chars_max` characters.
pub fn harmless(text: &str, chars_max: usize) -> String {
    let mut shown = String::new();
    let mut chars = 0;
    for c in text.chars() {
        let escaped: String = match c {
            // Zero width: two names would look the same.
            c if is_unsafe(c) || matches!(c, '\u{200b}'..='\u{200d}') => c.escape_default().collect(),
            c => c.into(),
        };
        let width = escaped.chars().count();
        if chars + width > chars_max {
            shown.push('…');
            break;
        }
        chars += width;
        shown.push_str(&escaped);
    }
    shown
}

/// Sanitizes foreign text for storage and display: cuts it to `bytes_max`, with a space for unsafe characters. Lines are kept.
pub fn printable(input: &str, bytes_max: usize) -> String {
    let input = &*secrets::hide(input);
    let cut = input.floor_char_boundary(bytes_max);
    let mut clean: String = input[..cut].chars().map(|c| if c != '\n' && is_unsafe(c) { ' ' } else { c }).collect();
    if cut < input.len() {
        clean.push('…');
    }
    clean
}

/// Indents the lines after the first, so that they do not look like lines of the surrounding message.
pub fn in_one_line(input: &str) -> String {
    input.trim_end_matches('\n').replace('\n', "\n    ")
}

/// As in JSON, which uses two escapes for characters that do not fit into one.
fn escape(shown: &mut String, c: char) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        let _ = write!(shown, "\\u{unit:04x}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_plugin_steer_nothing() {
        let input = "a\u{1b}[31mb\rc\u{9b}d\u{202e}e\u{2067}f\u{2028}g\u{0}h\nä日";
        assert_eq!(printable(input, 100), "a [31mb c d e f g h\nä日");
        assert_eq!(printable("ää", 3), "ä…");
        assert_eq!(printable("", 0), "");
        assert_eq!(in_one_line("a\nerror: b\n\n"), "a\n    error: b");
    }

    #[test]
    fn no_line_of_a_message_passes_for_another_message() {
        assert_eq!(message("a"), "a");
        assert_eq!(message("a\nerror: b\r\n  c\n\n d\n\n"), "a\n  error: b\n    c\n\n   d");
        assert_eq!(message("a\n  b\n    c"), "a\n  b\n    c");
        assert_eq!(
            message("a\rerror: b\u{1b}[2J\u{9b}\u{85}\u{2028}c"),
            "a\\u000derror: b\\u001b[2J\\u009b\\u0085\\u2028c"
        );
        let once = message("x\u{1b}\ny\n");
        assert_eq!(message(&once), once, "a message within a message");
        let long = message(&"ä".repeat(40_000));
        assert!(long.ends_with("ä… (and 14464 more bytes)"), "{}", &long[long.len() - 40..]);
    }

    #[test]
    fn the_output_of_a_command_keeps_its_lines_and_its_json() {
        assert!(matches!(text("a\n\tb ä日\u{1f600}\n"), Cow::Borrowed(_)));
        let value = "\u{202e}\u{e0041}\u{9c}";
        let json = serde_json::to_string(value).unwrap();
        let shown = text(&json);
        assert_eq!(shown, "\"\\u202e\\udb40\\udc41\\u009c\"");
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), value);
        assert_eq!(text("a\r\nb\rc"), "a\nb\\u000dc");
    }
}
