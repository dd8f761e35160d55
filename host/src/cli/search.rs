//! `millstream search`: searches a registry.

use clap::Args;
use millstream_base::error::Result;
use millstream_packages::lock::location::registry;
use millstream_packages::registry::found::SearchHit;
use std::fmt::Write as _;

/// The arguments of `millstream search`.
#[derive(Args)]
pub struct SearchArguments {
    /// Words in the name or the description (default: all packages)
    words: Vec<String>,
    /// Registry: oci://HOST/PATH, or a directory
    ///
    /// Default: `registry` in config.toml.
    #[arg(long)]
    registry: Option<String>,
}

/// Returns the packages that were found, one per line.
pub fn search(arguments: &SearchArguments) -> Result<String> {
    let registry = registry(arguments.registry.as_deref())?;
    let hits = registry.search(&arguments.words)?;
    if hits.is_empty() {
        return Ok(match arguments.words.is_empty() {
            true => format!("{registry} has no packages\n"),
            false => format!("no package of {registry} matches\n"),
        });
    }
    let version = |hit: &SearchHit| hit.versions.first().map(ToString::to_string).unwrap_or_default();
    let width = |of: &dyn Fn(&SearchHit) -> usize| hits.iter().map(of).max().unwrap_or_default();
    let names = width(&|hit| hit.name.as_str().len());
    let versions = width(&|hit| version(hit).len());
    let mut text = String::new();
    for hit in &hits {
        let line = format!("{:names$}  {:versions$}  {}", hit.name.as_str(), version(hit), hit.description);
        let _ = writeln!(text, "{}", line.trim_end());
    }
    Ok(text)
}
