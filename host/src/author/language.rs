//! The languages that there is an SDK for.

use millstream_base::error::{Error, Result};
use std::fmt::{self, Display};

/// A language that plugins are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Language {
    /// Rust, by cargo.
    Rust,
    /// Python, by componentize-py.
    Python,
    /// JavaScript or TypeScript, by esbuild and componentize-qjs.
    JavaScript,
    /// Go, by its own compiler.
    Go,
    /// C, by clang and wasi-libc.
    C,
}

impl Language {
    /// All of them.
    pub const ALL: [Language; 5] = [Language::Rust, Language::Python, Language::JavaScript, Language::Go, Language::C];

    /// The word for it on the command line and in `plugin.toml`, also the name of its folder in `sdk/`.
    pub fn word(self) -> &'static str {
        match self {
            Language::Rust => "rust",
            Language::Python => "python",
            Language::JavaScript => "js",
            Language::Go => "go",
            Language::C => "c",
        }
    }

    /// The language of this word; other common words for it will do as well.
    ///
    /// # Errors
    /// `Job`: there is no SDK for it; the message says which there are.
    pub fn parse(word: &str) -> Result<Language> {
        match word {
            "py" => return Ok(Language::Python),
            "ts" | "typescript" | "javascript" => return Ok(Language::JavaScript),
            _ => {}
        }
        Language::ALL.into_iter().find(|language| language.word() == word).ok_or_else(|| {
            let words: Vec<&str> = Language::ALL.iter().map(|language| language.word()).collect();
            Error::job(format!(
                "no SDK for `{word}`; languages are {}. docs/how-to/write-plugins-in-other-languages.md describes plugins \
                 without an SDK",
                words.join(", ")
            ))
        })
    }
}

/// As people write it.
impl Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Language::Rust => "Rust",
            Language::Python => "Python",
            Language::JavaScript => "JavaScript",
            Language::Go => "Go",
            Language::C => "C",
        })
    }
}
