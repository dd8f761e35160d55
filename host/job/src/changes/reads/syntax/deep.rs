//! Strings with many nested brackets. The parser tries some of them twice for each level, so deep parts are not parsed: a list of the names in them
//! replaces them.

use super::VOLATILE;
use crate::standing_query::is_total;
use sqlparser::dialect::GenericDialect;
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, Tokenizer, Word};

/// Maximum nesting of brackets in a string that is parsed.
const BRACKETS_DEEP_MAX: usize = 12;

/// Returns the text, if it is not too deep to be parsed.
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

/// Replaces parts within too many brackets by the names in them. `None` if such a part reads several rows, or the text is not SQL.
pub fn flattened(text: &str) -> Option<String> {
    let tokens = tokens(text)?;
    if is_shallow(&tokens) {
        return Some(text.to_owned());
    }
    let mut flat = String::new();
    let mut depth = 0_usize;
    let mut deep: Vec<String> = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        if closes(token) {
            depth = depth.saturating_sub(1);
            if depth == BRACKETS_DEEP_MAX {
                flat += &std::mem::take(&mut deep).join(", ");
            }
        }
        match token {
            token if depth <= BRACKETS_DEEP_MAX => flat += &token.to_string(),
            Token::Word(word) => deep.push(name(word, is_called(&tokens, index))?),
            _ => {}
        }
        depth += usize::from(opens(token));
    }
    Some(flat)
}

/// Returns a function in a string whose value differs in each batch.
pub fn volatile_call(text: &str) -> Option<String> {
    let tokens = tokens(text)?;
    let mut functions = tokens.iter().enumerate().filter_map(|(index, token)| match token {
        Token::Word(word) => volatile(word, is_called(&tokens, index)),
        _ => None,
    });
    functions.next()
}

/// Tokens as written: a quote within quotes stays two.
fn tokens(text: &str) -> Option<Vec<Token>> {
    millstream_base::panics::caught(|| Tokenizer::new(&GenericDialect {}, text).with_unescape(false).tokenize())
        .ok()?
        .ok()
}

fn opens(token: &Token) -> bool {
    matches!(token, Token::LParen | Token::LBracket | Token::LBrace)
}

fn closes(token: &Token) -> bool {
    matches!(token, Token::RParen | Token::RBracket | Token::RBrace)
}

/// Returns whether a bracket follows.
fn is_called(tokens: &[Token], index: usize) -> bool {
    let mut following = tokens.iter().skip(index + 1).filter(|token| !matches!(token, Token::Whitespace(_)));
    following.next() == Some(&Token::LParen)
}

/// Returns the function of a word whose value differs in each batch: some need no brackets.
fn volatile(word: &Word, is_called: bool) -> Option<String> {
    let name = word.value.to_lowercase();
    let is_one = word.quote_style.is_none() && VOLATILE.contains(&name.as_str());
    (is_one && (is_called || name.starts_with("current_") || name.starts_with("local"))).then_some(name)
}

/// Returns a word's text in the list: a name, unless its meaning matters.
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
