//! The blocks of a Markdown file, so that tests can run what readers are told to do.

use crate::root;

/// A fenced block.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// What stands behind the fence: `sh`, `toml`, `rust` …
    pub language: String,
    /// The lines between the fences.
    pub text: String,
    /// `<file>:<line>` of the opening fence.
    pub place: String,
}

/// The fenced blocks of a file of the project, in order.
///
/// # Panics
/// A block that is not fenced, or whose fence names no language, would escape the tests.
pub fn blocks(file: &str) -> Vec<Block> {
    let text = std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    blocks_of(file, &text)
}

/// The one block of a file that is in a language and has this text.
///
/// # Panics
/// There is none, or there are several.
#[track_caller]
pub fn block(file: &str, language: &str, text: &str) -> Block {
    let mut found: Vec<Block> =
        blocks(file).into_iter().filter(|block| block.language == language && block.text.contains(text)).collect();
    assert_eq!(found.len(), 1, "{file} has so many {language} blocks with {text:?}");
    found.remove(0)
}

fn blocks_of(file: &str, text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open = false;
    for (index, line) in text.lines().enumerate() {
        let place = format!("{file}:{}", index + 1);
        if let Some(language) = line.strip_prefix("```") {
            if !open {
                assert!(!language.is_empty(), "{place}: the fence names no language");
                blocks.push(Block { language: language.into(), text: String::new(), place });
            }
            open = !open;
        } else if let (true, Some(block)) = (open, blocks.last_mut()) {
            block.text.push_str(line);
            block.text.push('\n');
        } else {
            assert!(!line.starts_with("    "), "{place}: fence this block and name its language");
        }
    }
    assert!(!open, "{file}: the last fence is not closed");
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_with_language_and_place() {
        let blocks = blocks_of("x.md", "a\n```toml\nb = 1\n\n```\nc\n```sh\n```\n");
        let block = |language: &str, text: &str, place: &str| Block {
            language: language.into(),
            text: text.into(),
            place: place.into(),
        };
        assert_eq!(blocks, [block("toml", "b = 1\n\n", "x.md:2"), block("sh", "", "x.md:7")]);
    }

    #[test]
    #[should_panic(expected = "x.md:2: fence this block")]
    fn no_block_escapes() {
        blocks_of("x.md", "a\n    make\n");
    }
}
