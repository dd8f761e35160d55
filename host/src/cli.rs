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
use millstream_base::job;
use millstream_base::memory;
use millstream_base::patience::ServerWait;
use millstream_base::secrets;
use millstream_base::shown::{self, harmless};
use millstream_base::terminal;
use millstream_connectors::kinds;
use millstream_engine::checkpoint::{manifest, store as checkpoints};
use millstream_engine::graph::Graph;
use millstream_engine::running::{Options, workers_of_all};
use millstream_plugins::plugin::PluginHost;
use output::{LogOutput, show, show_as_it_is, warn_of};
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
    /// Run a job until it ends or is stopped (Ctrl-C stops it gracefully, a second one at once)
    Run(Box<run::arguments::RunArguments>),
    /// Check a job file and its plugins without running anything, and show the columns of every stream
    Validate {
        /// The job file
        job: PathBuf,
        /// Replace a value of the job file, as `sources.lines.address=127.0.0.1:9999`
        #[arg(long = "set", value_name = "KEY=VALUE", value_parser = run::arguments::parse_set)]
        sets: Vec<(String, String)>,
    },
    /// Send rows from standard input through plugins and a query to standard output, without a job file
    Pipe(Box<pipe::PipeArguments>),
    /// Serve plugins to other engines on a Unix socket, with tables as streams of Arrow IPC
    Serve(serve::ServeArguments),
    /// Print the JSON Schema of job files, for editors
    Schema,
    /// Print the lines of a job file for a file, from a sample of its records
    Infer(infer::InferArguments),
    /// Make a plugin project
    New(new::NewArguments),
    /// Build plugin projects into components
    Build {
        /// The plugins' folders
        #[arg(default_value = ".")]
        folders: Vec<PathBuf>,
    },
    /// Make a component of a core module that a compiler has made, or a person by hand
    Componentize {
        /// The core module: binary, or text as `.wat`
        module: PathBuf,
        /// The kind of plugin that it is
        #[arg(long, value_parser = ["transform", "update", "aggregate", "cogroup", "source", "sink"])]
        world: String,
        /// Where to write the component
        #[arg(short, long)]
        output: PathBuf,
    },
    /// Run a plugin's cases in virtual time
    Test(test::TestArguments),
    /// See whether the tools that plugins are built with are there and work, by language
    Doctor(doctor::DoctorArguments),
    /// Show what a plugin, a checkpoint or a job is: schemas, sizes, digests; batches, state tables, positions
    Inspect(inspect::InspectArguments),
    /// Run a batch again from its plan and the state before it, and compare its output with what was committed
    Replay(replay::ReplayArguments),
    /// Show how a running job stands: batches, rows, rejected and late rows, what its plugins cost
    Status(status::StatusArguments),
    /// Show how a running job stands on the whole terminal, once a second: the graph, rates, what holds it up, what plugins cost
    Top(top::TopArguments),
    /// Serve a page about all your jobs that run on this machine
    Ui(ui::UiArguments),
    /// Stop a running job: what it has received is worked on and committed first
    Stop(stop::StopArguments),
    /// Give a running job more or fewer workers, or processes: new ones start beside the old ones and take the job over
    Scale(scale::ScaleArguments),
    /// Put the next version of a plugin into a running job, between two batches
    Upgrade(upgrade::UpgradeArguments),
    /// Go back to the plugin that a stage had before its last upgrade, with the state of then
    Rollback(rollback::RollbackArguments),
    /// Query the state that a job's checkpoint holds, while the job runs or after
    State(state::StateArguments),
    /// Make and show keys that sign packages, and say whose signatures count
    Key(key::KeyArguments),
    /// Give rejected rows back to the stage that rejected them, once its plugin is mended
    Retry(retry::RetryArguments),
    /// Share a plugin as a package, in a registry or a folder
    Push(push::PushArguments),
    /// Get a package into the store, and show what it asks for
    Pull(pull::PullArguments),
    /// Show what a package in a registry is, without keeping or running it
    Show(show::ShowArguments),
    /// Find packages in a registry or a folder
    Search(search::SearchArguments),
    /// Ask a registry what stands on standard input; Millstream starts this by itself
    #[command(hide = true)]
    AskRegistry(registry::RegistryArguments),
    /// Get a package from a registry, pin it in millstream.lock, and make it the plugin of a stage
    Add(add::AddArguments),
    /// Remove packages from the store that no lock file pins
    Gc,
    /// Compare the store of packages with its digests, and what jobs pin with it
    Verify(store::VerifyArguments),
    /// Print a script by which a shell completes commands and options
    Completions(completions::CompletionsArguments),
    /// Write the manual pages of all commands into a folder
    ManPages(completions::ManPagesArguments),
    /// Compile one component from standard input; Millstream starts this by itself
    #[command(hide = true)]
    CompileComponent(compile::CompileArguments),
}

/// What plugins return may make a library panic; the error that becomes of it says what happened. The words of other
/// panics may hold what came from outside.
fn quiet_caught_panics() {
    std::panic::set_hook(Box::new(|panic| {
        if millstream_base::panics::catches_panics() {
            return;
        }
        let thread = std::thread::current();
        let words = format!("thread '{}' {panic}", thread.name().unwrap_or("without a name"));
        let _ = writeln!(LogOutput, "{}", shown::message(&words));
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            let _ = writeln!(LogOutput, "{backtrace}");
        }
    }));
}

/// Runs the command that the process was started with.
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
            let spec = job::load(&job, kinds::all(), &sets)?;
            warn_of(stale::of_job(&spec));
            memory::limit(spec.memory_bytes_max, 1)?;
            let begins = spec.checkpoint.is_none();
            let graph = Graph::resolve(spec, &PluginHost::new()?, begins, ServerWait::No)?;
            graph.check_instances(workers_of_all(&graph.spec, &Options::default())?)?;
            if !begins {
                let goes_on = resumed(&graph)?;
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
            let schema = serde_json::to_string_pretty(&job::schema(kinds::all())).map_err(Error::bug)?;
            show(&format!("{schema}\n"))?;
        }
        Command::Infer(arguments) => show(&infer::infer(&arguments)?)?,
        Command::New(arguments) => show(&new::new(&arguments)?)?,
        Command::Build { folders } => {
            author::build::build_all(&folders, |component| show(&format!("built {}\n", component.display())))?;
        }
        Command::Componentize { module, world, output } => {
            author::componentize::file(&module, &world, &output)?;
            show(&format!("made {}\n", output.display()))?;
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
        Command::Completions(arguments) => show_as_it_is(&completions::completions(&arguments)?)?,
        Command::ManPages(arguments) => show(&completions::man_pages(&arguments)?)?,
        Command::CompileComponent(arguments) => return compile::compile(&arguments),
    }
    Ok(ExitCode::SUCCESS)
}

/// The id of the job whose checkpoint this one would go on from.
fn resumed(graph: &Graph) -> Result<Option<String>> {
    let Some(checkpoint) = &graph.spec.checkpoint else { return Ok(None) };
    let store = checkpoints::open(&checkpoint.dir, &graph.spec.origin.folder)?;
    Ok(manifest::read(&*store)?.map(|(manifest, _)| manifest.job_id))
}
