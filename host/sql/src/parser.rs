//! Reading the text of a query or expression, within limits.

use crate::limits::{SQL_DEPTH_MAX, SQL_TRIED_TWICE_MAX};
use datafusion::common::DataFusionError;
use datafusion::sql::parser::{DFParser, DFParserBuilder};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use millstream_base::limits::SQL_BYTES_MAX;

/// A parser for a text that is not too long, nor too deep to be worked on.
pub fn parser(text: &str) -> Result<DFParser<'static>, DataFusionError> {
    static DIALECT: GenericDialect = GenericDialect {};
    if text.len() > SQL_BYTES_MAX {
        return Err(DataFusionError::Plan(format!("it has more than {SQL_BYTES_MAX} bytes; make it shorter")));
    }
    let tokens =
        Tokenizer::new(&DIALECT, text).tokenize().map_err(datafusion::sql::sqlparser::parser::ParserError::from)?;
    let (depth, tried_twice) = depth(&tokens);
    if tried_twice > SQL_TRIED_TWICE_MAX {
        let words =
            format!("more than {SQL_TRIED_TWICE_MAX} of `cast(…)`, `not (…)` and similar calls are nested; split it");
        return Err(DataFusionError::Plan(words));
    }
    if depth > SQL_DEPTH_MAX {
        let words = format!("more than {SQL_DEPTH_MAX} operators and keywords are in one expression; split it");
        return Err(DataFusionError::Plan(words));
    }
    DFParserBuilder::new(text).with_dialect(&DIALECT).build()
}

/// Words behind which the parser reads a bracket once more, as something else, where what stands in it is wrong or too deep:
/// twice for each level.
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

/// How deep the tree of a text may be at most: trees are walked by calls within calls. Each operator may be a level above
/// those before it; what stands between commas stands side by side. And how many brackets that are [`TRIED_TWICE`] stand
/// within each other.
fn depth(tokens: &[Token]) -> (usize, usize) {
    let (mut deepest, mut outer, mut here, mut levels) = (0, 0, 0, Vec::new());
    let (mut tried_twice, mut most_tried, mut word) = (0, 0, Keyword::NoKeyword);
    for token in tokens {
        match token {
            Token::LParen | Token::LBracket | Token::LBrace => {
                levels.push((outer, here, tried_twice));
                outer += here + 1;
                here = 0;
                tried_twice += usize::from(TRIED_TWICE.contains(&word));
            }
            Token::RParen | Token::RBracket | Token::RBrace => {
                (outer, here, tried_twice) = levels.pop().unwrap_or_default();
            }
            Token::Comma => here = 0,
            Token::Word(word) => here += usize::from(word.keyword != Keyword::NoKeyword),
            Token::Number(..) | Token::SingleQuotedString(_) | Token::Period | Token::Whitespace(_) => {}
            _ => here += 1,
        }
        word = match token {
            Token::Word(word) => word.keyword,
            Token::Whitespace(_) => word,
            _ => Keyword::NoKeyword,
        };
        deepest = deepest.max(outer + here);
        most_tried = most_tried.max(tried_twice);
    }
    (deepest, most_tried)
}
