//! Counts a character in a text: the function of Nexmark's query 14.

use millstream_sdk::{Row, transform};

/// A text, and the character.
#[derive(Row)]
pub struct Text<'a> {
    text: Option<&'a str>,
    character: Option<&'a str>,
}

/// How often it is there; null where one of both is null.
#[derive(Row)]
pub struct Count {
    count: Option<i64>,
}

/// Tells how often `character` is in `text`.
#[transform]
pub fn count_char(row: Text) -> Count {
    Count { count: row.text.zip(row.character).map(|(text, of)| count(text, of)) }
}

/// How often `of` is in `text`. Of an empty one there is none.
fn count(text: &str, of: &str) -> i64 {
    match of.as_bytes() {
        [] => 0,
        [byte] => text.bytes().filter(|other| other == byte).count() as i64,
        _ => text.matches(of).count() as i64,
    }
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn characters_of_any_length_are_counted() {
        assert_eq!(count("coccyx", "c"), 3);
        assert_eq!(count("Über Übung", "Ü"), 2);
        assert_eq!(count("", "c"), 0);
        assert_eq!(count("c", ""), 0);
    }
}
