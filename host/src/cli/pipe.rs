//! `millstream pipe`: rows from standard input through plugins and a query to standard output.

use super::run::arguments::parse_set;
use crate::pipe;
use crate::pipe::options::{Options, PipeFormat, StepOptions};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};
use millstream_base::error::Result;
use std::path::PathBuf;

/// The arguments of `millstream pipe`.
#[derive(Args)]
#[command(after_long_help = "\
Rows go on as soon as nothing more waits in the input, in the order in which they
came. The query reads the table `rows`: the rows of the last plugin, or of the
input. Where it looks at each row by itself, its rows come as the others do; an
aggregate is over all of the input, and comes at its end.

A line that is no row, a row that a plugin refuses, or one that makes it fail,
ends the pipe with exit code 1. With --on-error reject such rows are left out,
told of at the end, and the exit code is 0. Wrong usage is exit code 2, too
little memory 3.

  tail -f access.log | millstream pipe plugins/weblog | jq .path
  millstream pipe plugins/split-words --config '{\"lowercase\": true}' \\
    --sql 'select word, count(*) as n from rows group by word' < book.txt")]
pub struct PipeArguments {
    #[command(flatten)]
    steps: Steps,
    /// What standard input holds
    #[arg(long, value_enum, default_value = "text")]
    from: PipeFormat,
    /// What standard output is to hold
    #[arg(long, value_enum, default_value = "json")]
    to: PipeFormat,
    /// The columns of the input, as user=text,amount=float64 (default: as the first 1,000 lines look; text has one, `value`)
    #[arg(long, value_name = "COLUMNS")]
    schema: Option<String>,
    /// What a row that is refused does: ends the pipe, or is left out
    #[arg(long, value_name = "WHAT", value_parser = ["fail", "reject"])]
    on_error: Option<String>,
    /// Write refused rows to this file, as JSON lines; they are left out then
    #[arg(long, value_name = "FILE")]
    rejected: Option<PathBuf>,
    /// The budget of memory, as 1GiB
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
}

/// Plugins and a query, each with what stands behind it.
struct Steps {
    plugins: Vec<StepOptions>,
    query: Option<StepOptions>,
}

const PLUGIN: &str = "plugin";
const CONFIG: &str = "config";
const SET: &str = "set";
const SQL: &str = "sql";

impl Args for Steps {
    fn augment_args(command: Command) -> Command {
        let plugin = Arg::new(PLUGIN).value_name("PLUGIN").num_args(0..).action(ArgAction::Append);
        let config = Arg::new(CONFIG).long(CONFIG).value_name("JSON").action(ArgAction::Append);
        let set = Arg::new(SET).long(SET).value_name("KEY=VALUE").action(ArgAction::Append).value_parser(parse_set);
        let sql = Arg::new(SQL).long(SQL).value_name("QUERY").action(ArgAction::Set);
        command
            .arg(plugin.help("Plugins of world transform, one behind the other: folders, components, or name@version as millstream.lock pins them"))
            .arg(config.help("The config of the plugin before it"))
            .arg(set.help("A limit or grant of the plugin before it, or a limit of the query, as limits.time=2s"))
            .arg(sql.help("A query over the table `rows`, behind the plugins"))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Steps::augment_args(command)
    }
}

/// An argument that says something of a step.
enum StepArgument {
    Plugin(String),
    Sql(String),
    Config(String),
    Set((String, String)),
}

impl FromArgMatches for Steps {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Steps, Error> {
        let mut words: Vec<(usize, StepArgument)> = Vec::new();
        words.extend(placed::<String>(matches, PLUGIN).map(|(at, text)| (at, StepArgument::Plugin(text))));
        words.extend(placed::<String>(matches, SQL).map(|(at, text)| (at, StepArgument::Sql(text))));
        words.extend(placed::<String>(matches, CONFIG).map(|(at, text)| (at, StepArgument::Config(text))));
        words.extend(placed::<(String, String)>(matches, SET).map(|(at, set)| (at, StepArgument::Set(set))));
        words.sort_by_key(|(at, _)| *at);
        let wrong = |words: &str| Err(Error::raw(ErrorKind::ArgumentConflict, format!("{words}\n")));
        let mut steps = Steps { plugins: Vec::new(), query: None };
        let mut of_query = false;
        for (_, word) in words {
            let step = |what| StepOptions { what, config: None, sets: Vec::new() };
            match word {
                StepArgument::Plugin(plugin) => {
                    of_query = false;
                    steps.plugins.push(step(plugin));
                    continue;
                }
                StepArgument::Sql(sql) => {
                    of_query = true;
                    steps.query = Some(step(sql));
                    continue;
                }
                _ => {}
            }
            let step = if of_query { steps.query.as_mut() } else { steps.plugins.last_mut() };
            match (word, step) {
                (StepArgument::Set(set), Some(step)) => step.sets.push(set),
                (StepArgument::Config(_), _) if of_query => {
                    return wrong("--config stands behind the plugin that it is for");
                }
                (StepArgument::Config(config), Some(step)) if step.config.is_none() => step.config = Some(config),
                (StepArgument::Config(_), Some(_)) => return wrong("--config stands twice behind a plugin"),
                _ => return wrong("--config and --set stand behind the plugin that they are for"),
            }
        }
        Ok(steps)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Steps::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The values of an argument with their places among all.
fn placed<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, name: &str) -> impl Iterator<Item = (usize, T)> {
    let values: Vec<T> = matches.get_many::<T>(name).into_iter().flatten().cloned().collect();
    let places: Vec<usize> = matches.indices_of(name).into_iter().flatten().collect();
    places.into_iter().zip(values)
}

/// Does what the arguments say.
pub fn pipe(arguments: PipeArguments) -> Result<()> {
    let PipeArguments { steps: Steps { plugins, query }, from, to, schema, on_error, rejected, memory } = arguments;
    let rejects = match (on_error.as_deref(), &rejected) {
        (Some("fail"), Some(_)) => {
            return Err(millstream_base::error::Error::job(
                "--on-error fail and --rejected: a pipe that ends with the first row keeps none; write one of them",
            ));
        }
        (word, file) => word == Some("reject") || file.is_some(),
    };
    pipe::run(&Options { from, to, schema, plugins, query, rejects, rejected, memory })
}
