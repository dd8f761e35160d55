//! `millstream completions` and `millstream man-pages`: shell completions and manual pages, generated from the command
//! line definition.

use super::{Arguments, version};
use clap::{Args, Command, CommandFactory};
use clap_complete::aot::{Shell, generate};
use clap_mangen::Man;
use millstream_base::error::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// The arguments of `millstream completions`.
#[derive(Args)]
pub struct CompletionsArguments {
    /// Name of the shell
    #[arg(value_parser = ["bash", "zsh", "fish"])]
    shell: String,
}

/// The arguments of `millstream man-pages`.
#[derive(Args)]
pub struct ManPagesArguments {
    /// Directory, for example ~/.local/share/man/man1
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

/// Returns a script with which a shell completes commands and options.
pub fn completions(arguments: &CompletionsArguments) -> Result<String> {
    let shell: Shell = arguments.shell.parse().map_err(Error::bug)?;
    let mut script = Vec::new();
    generate(shell, &mut visible(&Arguments::command()), "millstream", &mut script);
    String::from_utf8(script).map_err(Error::bug)
}

/// Writes a page for the program and for each of its commands. Returns a summary.
pub fn man_pages(arguments: &ManPagesArguments) -> Result<String> {
    let mut command = visible(&Arguments::command()).disable_help_subcommand(true);
    command.build();
    let mut pages = 0;
    write_pages(&command, &arguments.dir, &mut pages)?;
    Ok(format!("wrote {pages} pages into {}\n", arguments.dir.display()))
}

fn write_pages(command: &Command, dir: &Path, pages: &mut usize) -> Result<()> {
    command.get_subcommands().try_for_each(|inner| write_pages(inner, dir, pages))?;
    // An empty date would be omitted from the line, and the following fields would shift.
    let page = Man::new(command.clone()).date(" ").source(format!("Millstream {}", version::VERSION));
    let page = page.manual("Millstream");
    let mut text = Vec::new();
    let path = dir.join(page.get_filename());
    page.render(&mut text).map_err(Error::bug)?;
    fs::write(&path, text).map_err(|error| Error::environment(format!("{}: {error}", path.display())))?;
    *pages += 1;
    Ok(())
}

/// Returns the command line without hidden parts, which completions would otherwise offer.
fn visible(command: &Command) -> Command {
    let mut shown = Command::new(command.get_name().to_owned());
    if let Some(about) = command.get_about() {
        shown = shown.about(about.clone());
    }
    if let Some(about) = command.get_long_about() {
        shown = shown.long_about(about.clone());
    }
    if let Some(version) = command.get_version() {
        shown = shown.version(version.to_owned());
    }
    let inner = command.get_subcommands().filter(|inner| !inner.is_hide_set()).map(visible);
    let given = command.get_arguments().filter(|argument| !argument.is_hide_set()).cloned();
    let needed = command.is_subcommand_required_set();
    shown.subcommand_required(needed).subcommands(inner).args(given)
}
