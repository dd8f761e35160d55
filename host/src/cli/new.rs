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

/// Makes the project, and returns what to do next.
pub fn new(arguments: &NewArguments) -> Result<String> {
    let language = Language::parse(&arguments.lang)?;
    let folder = new::create(Path::new("."), &arguments.name, &arguments.world, language)?;
    // `./` is true, and not what anyone would type.
    let folder = folder.strip_prefix(".").unwrap_or(&folder).display().to_string();
    let mut text = format!("created {folder}\n\nnext:\n");
    if tools::Tool::of(language).any(|tool| tools::look(tool, Path::new(&folder)).is_err()) {
        let _ = writeln!(text, "  millstream doctor --install {}", language.word());
    }
    let _ = write!(
        text,
        "  millstream build {folder}\n  millstream test {folder}\n\nthen use it in a job file:\n  plugin = \"{folder}\"\n"
    );
    Ok(text)
}
