//! `millstream completions` and `millstream man-pages`: what shells and manuals know of the command line, from itself.

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
    folder: PathBuf,
}

/// A script that a shell reads to complete commands and options.
pub fn completions(arguments: &CompletionsArguments) -> Result<String> {
    let shell: Shell = arguments.shell.parse().map_err(Error::bug)?;
    let mut script = Vec::new();
    generate(shell, &mut visible(&Arguments::command()), "millstream", &mut script);
    String::from_utf8(script).map_err(Error::bug)
}

/// Writes a page for the program and each of its commands; what was written.
pub fn man_pages(arguments: &ManPagesArguments) -> Result<String> {
    let mut command = visible(&Arguments::command()).disable_help_subcommand(true);
    command.build();
    let mut pages = 0;
    write_pages(&command, &arguments.folder, &mut pages)?;
    Ok(format!("wrote {pages} pages into {}\n", arguments.folder.display()))
}

fn write_pages(command: &Command, folder: &Path, pages: &mut usize) -> Result<()> {
    command.get_subcommands().try_for_each(|inner| write_pages(inner, folder, pages))?;
    // A date that is empty would be left out of the line, and all behind it be taken for something else.
    let page = Man::new(command.clone()).date(" ").source(format!("Millstream {}", version::VERSION));
    let page = page.manual("Millstream");
    let mut text = Vec::new();
    let path = folder.join(page.get_filename());
    page.render(&mut text).map_err(Error::bug)?;
    fs::write(&path, text).map_err(|error| Error::environment(format!("{}: {error}", path.display())))?;
    *pages += 1;
    Ok(())
}

/// The command line without what is hidden, which completions would offer all the same.
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
