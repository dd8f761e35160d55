//! Parser of queries and expressions, with limits.

use crate::limits::{SQL_DEPTH_MAX, SQL_TRIED_TWICE_MAX};
use datafusion::common::DataFusionError;
use datafusion::sql::parser::{DFParser, DFParserBuilder};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use millstream_base::limits::SQL_BYTES_MAX;

/// Creates a parser for a string, if that is neither too long nor too deep.
pub fn parser(text: &str) -> Result<DFParser<'static>, DataFusionError> {
    static DIALECT: GenericDialect = GenericDialect {};
    if text.len() > SQL_BYTES_MAX {
        return Err(DataFusionError::Plan(format!("it has more than {SQL_BYTES_MAX} bytes; make it shorter")));
    }
    let tokens =
        Tokenizer::new(&DIALECT, text).tokenize().map_err(datafusion::sql::sqlparser::parser::ParserError::from)?;
    let (depth, tried_twice) = depth(&tokens);
    if tried_twice > SQL_TRIED_TWICE_MAX {
        let message =
            format!("more than {SQL_TRIED_TWICE_MAX} of `cast(…)`, `not (…)` and similar calls are nested; split it");
        return Err(DataFusionError::Plan(message));
    }
    if depth > SQL_DEPTH_MAX {
        let message = format!("more than {SQL_DEPTH_MAX} operators and keywords are in one expression; split it");
        return Err(DataFusionError::Plan(message));
    }
    DFParserBuilder::new(text).with_dialect(&DIALECT).build()
}

/// Keywords after which the parser reads a bracket a second time, as something else, if its content is invalid or too deep: twice for each level.
const TRIED_TWICE: [Keyword; 12] = [
    Keyword::ARRAY,
    Keyword::CAST,
    Keyword::CEIL,
    Keyword::CONVERT,
    Keyword::FLOOR,
    Keyword::NOT,
    Keyword::OVERLAY,
    Keyword::POSITION,
    Keyword::SAFE_CAST,
    Keyword::SUBSTR,
    Keyword::SUBSTRING,
    Keyword::TRY_CAST,
];

/// Returns an upper bound of the tree depth of a string, as trees are walked by recursion. Each operator may be a level above those before it; items
/// between commas are siblings. Also returns the nesting of [`TRIED_TWICE`] brackets.
fn depth(tokens: &[Token]) -> (usize, usize) {
    let (mut deepest, mut outer, mut depth_here, mut levels) = (0, 0, 0, Vec::new());
    let (mut tried_twice, mut tried_max, mut word) = (0, 0, Keyword::NoKeyword);
    for token in tokens {
        match token {
            Token::LParen | Token::LBracket | Token::LBrace => {
                levels.push((outer, depth_here, tried_twice));
                outer += depth_here + 1;
                depth_here = 0;
                tried_twice += usize::from(TRIED_TWICE.contains(&word));
            }
            Token::RParen | Token::RBracket | Token::RBrace => {
                (outer, depth_here, tried_twice) = levels.pop().unwrap_or_default();
            }
            Token::Comma => depth_here = 0,
            Token::Word(word) => depth_here += usize::from(word.keyword != Keyword::NoKeyword),
            Token::Number(..) | Token::SingleQuotedString(_) | Token::Period | Token::Whitespace(_) => {}
            _ => depth_here += 1,
        }
        word = match token {
            Token::Word(word) => word.keyword,
            Token::Whitespace(_) => word,
            _ => Keyword::NoKeyword,
        };
        deepest = deepest.max(outer + depth_here);
        tried_max = tried_max.max(tried_twice);
    }
    (deepest, tried_max)
}
