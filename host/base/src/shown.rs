//! Text from outside, before a person sees it. Rows, files, servers and plugins can hold whatever somebody likes: characters
//! that steer a terminal, that turn the direction of text, or a line that looks as if Millstream had said it.
//!
//! All that is shown goes through here, at the last moment: errors when they are displayed, lines of the log when they are
//! written ([`message`]), the output of commands ([`text`]), cells and names in tables ([`harmless`]). So no place that puts
//! a message together needs to think of it. What is *kept* of a plugin's words is made harmless when it comes
//! ([`printable`]), as it may be shown by others.

use crate::secrets;
use std::borrow::Cow;
use std::fmt::Write as _;

/// Bytes of one message; what is longer is cut.
const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// In front of the lines of a message behind the first.
const INDENT: &str = "  ";

/// Control characters; separators of lines and paragraphs; marks, embeddings, overrides and isolates of direction, with
/// which text reads otherwise than it is ("Trojan Source", Boucher and Anderson 2021); and invisible tags.
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Text of several lines, as the output of a command: all that is unsafe but the ends of lines is shown as JSON would
/// escape it, so JSON stays what it is.
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

/// One message, as an error or a line of the log: as [`text`], without values that are [hidden](secrets), and where a line behind the first begins at the margin, all
/// of them are indented, so that none can pass for a message of its own.
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

/// A name or a cell within a line, in at most so many characters.
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

/// Somebody's words, to be kept and shown: cut to `bytes_max`, with a space for what is unsafe. Lines stay lines.
pub fn printable(words: &str, bytes_max: usize) -> String {
    let words = &*secrets::hide(words);
    let cut = words.floor_char_boundary(bytes_max);
    let mut clean: String = words[..cut].chars().map(|c| if c != '\n' && is_unsafe(c) { ' ' } else { c }).collect();
    if cut < words.len() {
        clean.push('…');
    }
    clean
}

/// Words whose lines behind the first are indented, so that they cannot pass for lines of the message around them.
pub fn in_one_line(words: &str) -> String {
    words.trim_end_matches('\n').replace('\n', "\n    ")
}

/// As in JSON, which has two escapes for what does not fit into one.
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
        let words = "a\u{1b}[31mb\rc\u{9b}d\u{202e}e\u{2067}f\u{2028}g\u{0}h\nä日";
        assert_eq!(printable(words, 100), "a [31mb c d e f g h\nä日");
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
