//! The blocks of a Markdown file, so that tests can run what the docs show.

use crate::root;
use std::path::Path;

/// A fenced block.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// The language after the fence: `sh`, `toml`, `rust` …
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

/// Returns the only block of a file in `language` that contains `text`.
///
/// # Panics
/// If there is no such block, or more than one.
#[track_caller]
pub fn block(file: &str, language: &str, text: &str) -> Block {
    let mut found: Vec<Block> =
        blocks(file).into_iter().filter(|block| block.language == language && block.text.contains(text)).collect();
    assert_eq!(found.len(), 1, "{file} has so many {language} blocks with {text:?}");
    found.remove(0)
}

/// Returns the only block of all pages of `docs/` in `language` that contains `text`. Identical blocks on several pages count as
/// one.
///
/// # Panics
/// If there is no such block, or more than one.
#[track_caller]
pub fn shown_block(language: &str, text: &str) -> Block {
    let all = pages().into_iter().flat_map(|page| blocks(&page));
    let found: Vec<Block> = all.filter(|block| block.language == language && block.text.contains(text)).collect();
    let places: Vec<&str> = found.iter().map(|block| block.place.as_str()).collect();
    let one = found.first().unwrap_or_else(|| panic!("no page has a {language} block with {text:?}"));
    assert!(found.iter().all(|block| block.text == one.text), "{language} blocks with {text:?} differ: {places:?}");
    one.clone()
}

/// Returns the only block of these files in `language` that contains `text`.
///
/// # Panics
/// If there is no such block, or more than one.
#[track_caller]
pub fn block_of(files: &[&str], language: &str, text: &str) -> Block {
    let all = files.iter().flat_map(|file| blocks(file));
    let mut found: Vec<Block> = all.filter(|block| block.language == language && block.text.contains(text)).collect();
    assert_eq!(found.len(), 1, "{files:?} have so many {language} blocks with {text:?}");
    found.remove(0)
}

/// Returns the pages of `docs/` in order, as paths relative to the project's root, without the notes that generated pages are
/// built from.
///
/// # Panics
/// If the directory cannot be read.
pub fn pages() -> Vec<String> {
    let mut pages = Vec::new();
    pages_in(Path::new("docs"), &mut pages);
    pages.retain(|page| !page.starts_with("docs/reference/notes/"));
    pages.sort();
    pages
}

fn pages_in(dir: &Path, pages: &mut Vec<String>) {
    let entries = std::fs::read_dir(root().join(dir)).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    for entry in entries.map(|entry| entry.expect("an entry")) {
        let path = dir.join(entry.file_name());
        if entry.path().is_dir() {
            pages_in(&path, pages);
        } else if path.extension().is_some_and(|ending| ending == "md") {
            pages.push(path.to_str().expect("a name in UTF-8").to_owned());
        }
    }
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
            assert!(!line.trim_start().starts_with("```"), "{place}: a fence begins its line");
        }
    }
    assert!(!open, "{file}: the last fence is not closed");
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_have_a_language_and_a_position() {
        let blocks = blocks_of("x.md", "a\n```toml\nb = 1\n\n```\nc\n```sh\n```\n");
        let block = |language: &str, text: &str, place: &str| Block {
            language: language.into(),
            text: text.into(),
            place: place.into(),
        };
        assert_eq!(blocks, [block("toml", "b = 1\n\n", "x.md:2"), block("sh", "", "x.md:7")]);
    }

    #[test]
    #[should_panic(expected = "x.md:2: a fence begins its line")]
    fn no_block_hides_in_a_list() {
        blocks_of("x.md", "1. a\n   ```sh\n   make\n   ```\n");
    }

    #[test]
    #[should_panic(expected = "x.md:2: fence this block")]
    fn no_block_escapes() {
        blocks_of("x.md", "a\n    make\n");
    }
}
