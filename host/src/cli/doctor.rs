//! `millstream doctor`.

use super::output::{LogOutput, show};
use crate::author::language::Language;
use crate::author::{doctor, tools};
use clap::Args;
use millstream_base::error::Result;
use std::io::Write;
use std::path::Path;

/// The arguments of `millstream doctor`.
#[derive(Args)]
pub struct DoctorArguments {
    /// Languages: rust, python, js, go, c (default: all)
    languages: Vec<String>,
    /// Install missing tools into the cache directory of the user
    ///
    /// Tools that need superuser rights are not installed.
    #[arg(long)]
    install: bool,
}

/// Shows what is installed and what is missing. Returns whether everything is installed.
pub fn doctor(arguments: &DoctorArguments) -> Result<bool> {
    let mut languages = Vec::new();
    for word in &arguments.languages {
        languages.push(Language::parse(word)?);
    }
    if languages.is_empty() {
        languages = Language::ALL.into();
    }
    languages.sort_unstable();
    languages.dedup();
    let here = Path::new(".");
    let mut report = doctor::examine(&languages, here);
    if arguments.install && !report.complete() {
        for language in languages.iter().filter(|language| report.can_install(**language)) {
            // The other languages may succeed.
            if let Err(error) = tools::install(*language, here) {
                let _ = writeln!(LogOutput, "error: {error}");
            }
        }
        report = doctor::examine(&languages, here);
    }
    show(&report.to_string())?;
    Ok(report.complete())
}
