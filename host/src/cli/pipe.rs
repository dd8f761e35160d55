//! `millstream pipe`: processes rows from standard input with plugins and a query, and writes them to standard output.

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
Rows are processed as soon as no more input is waiting, in input order. The query
reads the table `rows`: the rows of the last plugin, or of the input. A query that
treats each row separately emits rows at the same time; an aggregate covers the
complete input and is emitted at its end.

A line that cannot be read, a row that a plugin rejects, and a row on which it
fails, stop the pipe with exit code 1. With --on-error reject such rows are
skipped and reported at the end, and the exit code is 0. Wrong usage is exit
code 2, too little memory exit code 3.

  tail -f access.log | millstream pipe plugins/weblog | jq .path
  millstream pipe plugins/split-words --config '{\"lowercase\": true}' \\
    --sql 'select word, count(*) as n from rows group by word' < book.txt")]
pub struct PipeArguments {
    #[command(flatten)]
    steps: Steps,
    /// Format of standard input
    #[arg(long, value_enum, default_value = "text")]
    from: PipeFormat,
    /// Format of standard output
    #[arg(long, value_enum, default_value = "json")]
    to: PipeFormat,
    /// Columns of the input, for example user=text,amount=float64
    ///
    /// Default: inferred from the first 1,000 lines. The format text has one column, `value`.
    #[arg(long, value_name = "COLUMNS")]
    schema: Option<String>,
    /// Stop at a rejected row (fail), or skip it (reject)
    #[arg(long, value_name = "WHAT", value_parser = ["fail", "reject"])]
    on_error: Option<String>,
    /// Skip rejected rows and write them to this file as JSON lines
    #[arg(long, value_name = "FILE")]
    rejected: Option<PathBuf>,
    /// Memory budget, for example 1GiB
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
}

/// The plugins and the query, each with the options that follow it.
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
            .arg(plugin.help("Plugins of world transform: directories, components or name@version"))
            .arg(config.help("Config of the plugin before it"))
            .arg(set.help("Limit or grant of the plugin or query before it: limits.time=2s"))
            .arg(sql.help("Query over the table `rows`, after the plugins"))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Steps::augment_args(command)
    }
}

/// An argument of a step.
enum StepArgument {
    Plugin(String),
    Sql(String),
    Config(String),
    Set((String, String)),
}

impl FromArgMatches for Steps {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Steps, Error> {
        let mut arguments: Vec<(usize, StepArgument)> = Vec::new();
        arguments.extend(indexed_values::<String>(matches, PLUGIN).map(|(at, text)| (at, StepArgument::Plugin(text))));
        arguments.extend(indexed_values::<String>(matches, SQL).map(|(at, text)| (at, StepArgument::Sql(text))));
        arguments.extend(indexed_values::<String>(matches, CONFIG).map(|(at, text)| (at, StepArgument::Config(text))));
        arguments
            .extend(indexed_values::<(String, String)>(matches, SET).map(|(at, set)| (at, StepArgument::Set(set))));
        arguments.sort_by_key(|(at, _)| *at);
        let wrong = |message: &str| Err(Error::raw(ErrorKind::ArgumentConflict, format!("{message}\n")));
        let mut steps = Steps { plugins: Vec::new(), query: None };
        let mut of_query = false;
        for (_, word) in arguments {
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
                    return wrong("--config must follow its plugin");
                }
                (StepArgument::Config(config), Some(step)) if step.config.is_none() => step.config = Some(config),
                (StepArgument::Config(_), Some(_)) => return wrong("--config appears twice after a plugin"),
                _ => return wrong("--config and --set must follow their plugin"),
            }
        }
        Ok(steps)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Steps::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Returns the values of an argument with their indices on the command line.
fn indexed_values<T: Clone + Send + Sync + 'static>(
    matches: &ArgMatches,
    name: &str,
) -> impl Iterator<Item = (usize, T)> {
    let values: Vec<T> = matches.get_many::<T>(name).into_iter().flatten().cloned().collect();
    let indices: Vec<usize> = matches.indices_of(name).into_iter().flatten().collect();
    indices.into_iter().zip(values)
}

/// Runs the command.
pub fn pipe(arguments: PipeArguments) -> Result<()> {
    let PipeArguments { steps: Steps { plugins, query }, from, to, schema, on_error, rejected, memory } = arguments;
    let rejects = match (on_error.as_deref(), &rejected) {
        (Some("fail"), Some(_)) => {
            return Err(millstream_base::error::Error::job(
                "--on-error fail and --rejected exclude each other, as the first rejected row stops the pipe; write one of them",
            ));
        }
        (word, file) => word == Some("reject") || file.is_some(),
    };
    pipe::run(&Options { from, to, schema, plugins, query, rejects, rejected, memory })
}
