//! `millstream new`.

use crate::author::language::Language;
use crate::author::{new, tools};
use clap::Args;
use millstream_base::error::Result;
use std::fmt::Write as _;
use std::path::Path;

/// The arguments of `millstream new`.
#[derive(Args)]
pub struct NewArguments {
    /// Name of the plugin and its directory
    ///
    /// Lowercase letters, digits and hyphens.
    name: String,
    /// Language: rust, python, js, go or c
    #[arg(long, default_value = "rust")]
    lang: String,
    /// Kind of plugin
    #[arg(long, value_parser = ["transform", "update", "aggregate", "cogroup", "source", "sink"], default_value = "transform")]
    world: String,
}

/// Creates the project, and returns the next steps.
pub fn new(arguments: &NewArguments) -> Result<String> {
    let language = Language::parse(&arguments.lang)?;
    let dir = new::create(Path::new("."), &arguments.name, &arguments.world, language)?;
    // Omit `./`, as people do.
    let dir = dir.strip_prefix(".").unwrap_or(&dir).display().to_string();
    let mut text = format!("created {dir}\n\nnext:\n");
    if tools::Tool::for_language(language).any(|tool| tools::look(tool, Path::new(&dir)).is_err()) {
        let _ = writeln!(text, "  millstream doctor --install {}", language.keyword());
    }
    let _ = write!(
        text,
        "  millstream build {dir}\n  millstream test {dir}\n\nthen use it in a job file:\n  plugin = \"{dir}\"\n"
    );
    Ok(text)
}
