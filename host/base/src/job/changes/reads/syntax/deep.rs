//! Texts with many brackets within each other. The parser tries some of them twice for each level, so what stands deep is not parsed: a list
//! of the names in it takes its place.

use super::VOLATILE;
use crate::job::standing_query::is_total;
use sqlparser::dialect::GenericDialect;
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, Tokenizer, Word};

/// Brackets within each other in a text that is parsed.
const BRACKETS_DEEP_MAX: usize = 12;

/// The text, if it is not too deep to be parsed.
pub fn shallow(text: &str) -> Option<String> {
    is_shallow(&tokens(text)?).then(|| text.to_owned())
}

fn is_shallow(tokens: &[Token]) -> bool {
    let depths = tokens.iter().scan(0_usize, |depth, token| {
        *depth = if opens(token) { *depth + 1 } else { depth.saturating_sub(usize::from(closes(token))) };
        Some(*depth)
    });
    depths.max().unwrap_or_default() <= BRACKETS_DEEP_MAX
}

/// The text with the names within too many brackets in the place of what stands there. `None`: something there looks at several rows, or
/// the text is none of SQL.
pub fn flattened(text: &str) -> Option<String> {
    let tokens = tokens(text)?;
    if is_shallow(&tokens) {
        return Some(text.to_owned());
    }
    let mut flat = String::new();
    let mut depth = 0_usize;
    let mut deep: Vec<String> = Vec::new();
    for (place, token) in tokens.iter().enumerate() {
        if closes(token) {
            depth = depth.saturating_sub(1);
            if depth == BRACKETS_DEEP_MAX {
                flat += &std::mem::take(&mut deep).join(", ");
            }
        }
        match token {
            token if depth <= BRACKETS_DEEP_MAX => flat += &token.to_string(),
            Token::Word(word) => deep.push(name(word, is_called(&tokens, place))?),
            _ => {}
        }
        depth += usize::from(opens(token));
    }
    Some(flat)
}

/// A function in a text with another value in each batch.
pub fn volatile_call(text: &str) -> Option<String> {
    let tokens = tokens(text)?;
    let mut words = tokens.iter().enumerate().filter_map(|(place, token)| match token {
        Token::Word(word) => volatile(word, is_called(&tokens, place)),
        _ => None,
    });
    words.next()
}

/// As they are written: a quote within quotes stays two.
fn tokens(text: &str) -> Option<Vec<Token>> {
    crate::panics::caught(|| Tokenizer::new(&GenericDialect {}, text).with_unescape(false).tokenize()).ok()?.ok()
}

fn opens(token: &Token) -> bool {
    matches!(token, Token::LParen | Token::LBracket | Token::LBrace)
}

fn closes(token: &Token) -> bool {
    matches!(token, Token::RParen | Token::RBracket | Token::RBrace)
}

/// Whether a bracket follows.
fn is_called(tokens: &[Token], place: usize) -> bool {
    let mut behind = tokens.iter().skip(place + 1).filter(|token| !matches!(token, Token::Whitespace(_)));
    behind.next() == Some(&Token::LParen)
}

/// The function of a word, if it is one with another value in each batch: some need no brackets.
fn volatile(word: &Word, is_called: bool) -> Option<String> {
    let name = word.value.to_lowercase();
    let is_one = word.quote_style.is_none() && VOLATILE.contains(&name.as_str());
    (is_one && (is_called || name.starts_with("current_") || name.starts_with("local"))).then_some(name)
}

/// What a word is written as in the list: a name, unless its meaning is looked at.
fn name(word: &Word, is_called: bool) -> Option<String> {
    let lower = word.value.to_lowercase();
    let several = word.keyword == Keyword::SELECT || word.keyword == Keyword::OVER || is_called && is_total(&lower);
    if several {
        return None;
    }
    match volatile(word, is_called) {
        Some(call) => Some(format!("{call}()")),
        None if is_called && lower == "unnest" => Some("unnest()".into()),
        None => Some(format!("\"{}\"", word.value)),
    }
}
