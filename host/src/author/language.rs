//! The languages with an SDK.

use millstream_base::error::{Error, Result};
use std::fmt::{self, Display};

/// A language for plugins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Language {
    /// Rust, built with cargo.
    Rust,
    /// Python, built with componentize-py.
    Python,
    /// JavaScript or TypeScript, built with esbuild and componentize-qjs.
    JavaScript,
    /// Go, built with the Go compiler.
    Go,
    /// C, built with clang and wasi-libc.
    C,
}

impl Language {
    /// All languages.
    pub const ALL: [Language; 5] = [Language::Rust, Language::Python, Language::JavaScript, Language::Go, Language::C];

    /// Returns its name on the command line and in `plugin.toml`, which is also the name of its directory in `sdk/`.
    pub fn keyword(self) -> &'static str {
        match self {
            Language::Rust => "rust",
            Language::Python => "python",
            Language::JavaScript => "js",
            Language::Go => "go",
            Language::C => "c",
        }
    }

    /// Parses the name of a language. Other common names are accepted.
    ///
    /// # Errors
    /// `Job`: there is no SDK for it. The message lists the languages.
    pub fn parse(word: &str) -> Result<Language> {
        match word {
            "py" => return Ok(Language::Python),
            "ts" | "typescript" | "javascript" => return Ok(Language::JavaScript),
            _ => {}
        }
        Language::ALL.into_iter().find(|language| language.keyword() == word).ok_or_else(|| {
            let names: Vec<&str> = Language::ALL.iter().map(|language| language.keyword()).collect();
            Error::job(format!(
                "no SDK for `{word}`; languages are {}. docs/how-to/write-plugins-in-other-languages.md describes plugins \
                 without an SDK",
                names.join(", ")
            ))
        })
    }
}

/// Formats the name for people.
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
