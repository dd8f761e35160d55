//! The command line.

mod add;
mod compile;
#[cfg_attr(not(feature = "author"), path = "cli/completions/absent.rs")]
mod completions;
mod doctor;
mod infer;
mod inspect;
mod key;
mod log;
mod new;
mod output;
mod pipe;
mod pull;
mod push;
mod registry;
mod replay;
mod retry;
mod rollback;
mod run;
mod scale;
mod search;
mod serve;
mod show;
mod state;
mod status;
mod stop;
mod store;
pub(crate) mod supervise;
mod test;
#[cfg_attr(not(feature = "top"), path = "cli/top/absent.rs")]
mod top;
mod ui;
mod upgrade;
mod version;

use crate::author;
use crate::author::stale;

use clap::{Parser, Subcommand};
use millstream_base::error::{Error, Result};
use millstream_base::memory;
use millstream_base::retry::StartupRetry;
use millstream_base::secrets;
use millstream_base::shown::{self, harmless};
use millstream_base::terminal;
use millstream_connectors::kinds;
use millstream_engine::checkpoint::{manifest, store as checkpoints};
use millstream_engine::graph::Graph;
use millstream_engine::running::{Options, workers_of_all};
use millstream_plugins::plugin::PluginHost;
use output::{LogOutput, show, show_unescaped, warn_of};
use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "millstream", version = version::short(), long_version = version::long(), about = "A stream processor whose user code is WebAssembly")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a job until it ends or is stopped
    ///
    /// Ctrl-C stops it gracefully, a second Ctrl-C immediately.
    Run(Box<run::arguments::RunArguments>),
    /// Check a job file and its plugins, and show the columns of all streams
    ///
    /// Nothing is run.
    Validate {
        /// Path of the job file
        job: PathBuf,
        /// Replace or add a value of the job file
        ///
        /// For example `sources.lines.address=127.0.0.1:9999`.
        #[arg(long = "set", value_name = "KEY=VALUE", value_parser = run::arguments::parse_set)]
        sets: Vec<(String, String)>,
    },
    /// Process rows from standard input with plugins and a query
    ///
    /// The results go to standard output. No job file is needed.
    Pipe(Box<pipe::PipeArguments>),
    /// Serve plugins to other engines on a Unix socket
    ///
    /// Tables are sent and received as Arrow IPC streams.
    Serve(serve::ServeArguments),
    /// Print the JSON Schema of job files, for editors
    Schema,
    /// Print the job-file lines of a source, from a sample of its records
    Infer(infer::InferArguments),
    /// Create a plugin project
    New(new::NewArguments),
    /// Build plugin projects into components
    Build {
        /// Directories of the plugin projects
        #[arg(value_name = "DIR", default_value = ".")]
        dirs: Vec<PathBuf>,
    },
    /// Convert a core WebAssembly module to a plugin component
    Componentize {
        /// Core module: binary, or text (`.wat`)
        module: PathBuf,
        /// Kind of plugin
        #[arg(long, value_parser = ["transform", "update", "aggregate", "cogroup", "source", "sink"])]
        world: String,
        /// Path of the component to write
        #[arg(short, long)]
        output: PathBuf,
    },
    /// Run the test cases of a plugin in virtual time
    Test(test::TestArguments),
    /// Check the tools that build plugins, by language
    Doctor(doctor::DoctorArguments),
    /// Show details of a plugin, a checkpoint or a job
    ///
    /// Plugins: schemas, sizes and digests. Checkpoints: batches, state tables and positions.
    Inspect(inspect::InspectArguments),
    /// Replay a batch and compare its output with what was committed
    ///
    /// It runs from its plan and the state before it.
    Replay(replay::ReplayArguments),
    /// Show the status of a running job
    ///
    /// Batches, rows, rejected and late rows, and plugin cost.
    Status(status::StatusArguments),
    /// Show a live view of a running job: graph, rates, bottleneck, costs
    Top(top::TopArguments),
    /// Serve a web page about all your running jobs on this machine
    Ui(ui::UiArguments),
    /// Stop a running job after it has committed the rows it has received
    Stop(stop::StopArguments),
    /// Change the number of workers or processes of a running job
    Scale(scale::ScaleArguments),
    /// Upgrade a plugin of a running job, between two batches
    Upgrade(upgrade::UpgradeArguments),
    /// Undo the last upgrade of a plugin, with the state it had then
    Rollback(rollback::RollbackArguments),
    /// Query the state in the checkpoint of a job with SQL
    ///
    /// The job may be running or not.
    State(state::StateArguments),
    /// Create and show keys that sign packages, and choose trusted signers
    Key(key::KeyArguments),
    /// Reprocess rejected rows in the stage that rejected them
    Retry(retry::RetryArguments),
    /// Publish a plugin as a package, to a registry or a directory
    Push(push::PushArguments),
    /// Download a package to the store, and show its permissions
    Pull(pull::PullArguments),
    /// Show a package of a registry without storing or running it
    Show(show::ShowArguments),
    /// Find packages in a registry or a directory
    Search(search::SearchArguments),
    /// Send the request on standard input to a registry (internal)
    #[command(hide = true)]
    AskRegistry(registry::RegistryArguments),
    /// Add a package to a job: download and pin it, and set it in a stage
    Add(add::AddArguments),
    /// Remove the packages that no lock file pins from the store
    Gc,
    /// Check stored packages against their digests and lock files
    Verify(store::VerifyArguments),
    /// Print a completion script for a shell
    Completions(completions::CompletionsArguments),
    /// Write the manual pages of all commands to a directory
    ManPages(completions::ManPagesArguments),
    /// Compile one component from standard input (internal)
    #[command(hide = true)]
    CompileComponent(compile::CompileArguments),
}

/// Data from plugins may make a library panic; the resulting error describes that. The messages of other panics may
/// contain external data.
fn quiet_caught_panics() {
    std::panic::set_hook(Box::new(|panic| {
        if millstream_base::panics::catches_panics() {
            return;
        }
        let thread = std::thread::current();
        let message = format!("thread '{}' {panic}", thread.name().unwrap_or("without a name"));
        let _ = writeln!(LogOutput, "{}", shown::message(&message));
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            let _ = writeln!(LogOutput, "{backtrace}");
        }
    }));
}

/// Runs the command with which the process was started.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if log::start() {
        terminal::start();
    }
    quiet_caught_panics();
    match execute(arguments.command) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(LogOutput, "error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn execute(command: Command) -> Result<ExitCode> {
    match command {
        Command::Run(arguments) => return run::run(*arguments),
        Command::Validate { job, sets } => {
            let spec = millstream_job::load(&job, kinds::all(), &sets)?;
            warn_of(stale::of_job(&spec));
            memory::limit(spec.memory_bytes_max, 1)?;
            let begins = spec.checkpoint.is_none();
            let graph = Graph::resolve(spec, kinds::all(), &PluginHost::new()?, begins, StartupRetry::No)?;
            graph.check_instances(workers_of_all(&graph.spec, &Options::default())?)?;
            if !begins {
                let goes_on = resumed_job_id(&graph)?;
                graph.check_sinks(goes_on.as_deref())?;
                if goes_on.is_none() {
                    graph.check_tables()?;
                }
            }
            let job = harmless(&job.display().to_string(), usize::MAX);
            show(&format!("{}{job}: valid\n", graph.summary()))?;
        }
        Command::Pipe(arguments) => pipe::pipe(*arguments)?,
        Command::Serve(arguments) => serve::serve(arguments)?,
        Command::Schema => {
            let schema = serde_json::to_string_pretty(&millstream_job::schema(kinds::all())).map_err(Error::bug)?;
            show(&format!("{schema}\n"))?;
        }
        Command::Infer(arguments) => show(&infer::infer(&arguments)?)?,
        Command::New(arguments) => show(&new::new(&arguments)?)?,
        Command::Build { dirs } => {
            author::build::build_all(&dirs, |component| show(&format!("built {}\n", component.display())))?;
        }
        Command::Componentize { module, world, output } => {
            author::componentize::file(&module, &world, &output)?;
            show(&format!("created {}\n", output.display()))?;
        }
        Command::Test(arguments) => return Ok(ExitCode::from(u8::from(!test::test(&arguments)?))),
        Command::Doctor(arguments) => return Ok(ExitCode::from(u8::from(!doctor::doctor(&arguments)?))),
        Command::Inspect(arguments) => show(&secrets::hide(&inspect::inspect(&arguments)?))?,
        Command::Replay(arguments) => {
            let (text, same) = replay::run(&arguments)?;
            show(&text)?;
            return Ok(ExitCode::from(u8::from(!same)));
        }
        Command::Status(arguments) => show(&status::status(&arguments)?)?,
        Command::Top(arguments) => top::top(&arguments)?,
        Command::Ui(arguments) => ui::ui(&arguments)?,
        Command::Stop(arguments) => show(&stop::stop(&arguments)?)?,
        Command::Scale(arguments) => scale::scale(&arguments)?,
        Command::Upgrade(arguments) => {
            let (text, ruled) = upgrade::upgrade(&arguments)?;
            show(&text)?;
            ruled?;
        }
        Command::Rollback(arguments) => show(&rollback::rollback(&arguments)?)?,
        Command::State(arguments) => state::state(&arguments, &mut |text| show(text))?,
        Command::Key(arguments) => show(&key::key(&arguments)?)?,
        Command::Retry(arguments) => show(&retry::retry(&arguments)?)?,
        Command::Push(arguments) => show(&push::push(&arguments)?)?,
        Command::Pull(arguments) => show(&pull::pull(&arguments)?)?,
        Command::Show(arguments) => show(&show::show(&arguments)?)?,
        Command::Search(arguments) => show(&search::search(&arguments)?)?,
        Command::AskRegistry(arguments) => return registry::obey(&arguments),
        Command::Add(arguments) => show(&add::add(&arguments)?)?,
        Command::Gc => show(&store::gc()?)?,
        Command::Verify(arguments) => {
            let (text, good) = store::verify(&arguments)?;
            show(&text)?;
            return Ok(ExitCode::from(u8::from(!good)));
        }
        Command::Completions(arguments) => show_unescaped(&completions::completions(&arguments)?)?,
        Command::ManPages(arguments) => show(&completions::man_pages(&arguments)?)?,
        Command::CompileComponent(arguments) => return compile::compile(&arguments),
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the ID of the job whose checkpoint this one would resume from.
fn resumed_job_id(graph: &Graph) -> Result<Option<String>> {
    let Some(checkpoint) = &graph.spec.checkpoint else { return Ok(None) };
    let store = checkpoints::open(&checkpoint.dir, &graph.spec.origin.dir)?;
    Ok(manifest::read(&*store)?.map(|(manifest, _)| manifest.job_id))
}
