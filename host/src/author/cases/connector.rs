//! Cases of plugins of the worlds `source` and `sink`, which exchange rows with other systems.
//!
//! A case is a directory `cases/<case>/`:
//!
//! - `case.toml`: the plugin's keys in a job (`config`, `grant`, `limits`; for a sink also `on_error`, and the `schema` of
//!   its input), and its peers, `[peers.server]` with `kind = "tcp"` and so on: servers on this machine that follow their
//!   scripts (`server.txt`, see `peer/script`). `{server}` in `config` and `grant` is the peer's address.
//! - for a source: `rows`, the number of rows including rejected ones, if its partitions have no end; and
//!   `expected.jsonl`.
//! - for a sink: `input.jsonl`, one line per batch, each a JSON array of rows; and `expected-server.txt`, what that peer
//!   must receive.
//! - or `expected-error.txt`, and optionally `expected-rejected.jsonl`, as in other worlds.
//!
//! The plugin is called as by a job, one call after the other. Then the runner tests what is hard to observe in a job:
//! whether a source resumes at each of its positions, and whether an exactly-once sink recognizes a repeated batch.
//! `reopen = false` skips these tests.

mod sink;
mod source;

use super::compare::read_text;
use super::peer::{PeerSpec, Peers, expected_file};
use super::{CaseJob, CasesReport, ExpectedOutcome, table};
use crate::author::failed;
use millstream_base::error::{Error, Result};
use millstream_base::limits::{PLUGIN_STACK_BYTES_MAX_MAX, THREAD_STACK_BYTES_RESERVED};
use millstream_base::retry::StartupRetry;
use millstream_base::units;
use millstream_connectors::kinds;
use millstream_engine::graph::Graph;
use millstream_job::Version;
use millstream_job::spec::JobSpec;
use millstream_packages::package::facts::PackageFacts;
use millstream_plugins::plugin::{PluginHost, World, component_file, read_component};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The name of the source or sink in the job of a case.
const NAME: &str = "case";
/// The name of a sink's input.
const INPUT: &str = "input";
/// The maximum duration of one run of a case, unless the case defines it.
const WITHIN: Duration = Duration::from_secs(20);
/// Maximum number of retries after transient errors without progress.
const RETRIES_MAX: u32 = 3;
/// The pause before a retry, and the maximum pause if a plugin defines when it wants to be polled again.
const PAUSE: Duration = Duration::from_millis(20);

/// `case.toml`. The keys of the job are copied there unchanged.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConnectorFile {
    version: Option<u64>,
    schema: Option<toml::Value>,
    config: Option<toml::Value>,
    grant: Option<toml::Value>,
    limits: Option<toml::Value>,
    on_error: Option<toml::Value>,
    #[serde(default)]
    peers: BTreeMap<String, PeerSpec>,
    rows: Option<u64>,
    within: Option<String>,
    reopen: Option<bool>,
}

/// A case of a source or a sink.
struct ConnectorCase {
    dir: PathBuf,
    world: World,
    /// The text of `case.toml`.
    text: String,
    file: ConnectorFile,
    /// The maximum duration of one run.
    within: Duration,
}

/// Returns the world of the plugin in a directory, if it is one of these.
pub(super) fn world(dir: &Path) -> Result<Option<World>> {
    let file = component_file(dir)?;
    let facts = PackageFacts::read(&read_component(&file)?, &file.display().to_string())?;
    Ok(Some(facts.world).filter(|world| matches!(world, World::Source | World::Sink)))
}

/// Runs the cases of a plugin of one of these worlds.
pub(super) fn run(dir: &Path, world: World, accepts: bool) -> Result<CasesReport> {
    let plugin = super::plugin_dir(dir)?;
    super::all(dir, accepts, &|case, accepted| {
        run_on_own_stack(|| ConnectorCase::read(case, world)?.differs(&plugin, accepted))
    })
}

/// Returns the job of a case for describing it only: its peers are not started.
pub(super) fn job_of_case(dir: &Path) -> Result<JobSpec> {
    let case = ConnectorCase::read(dir, World::Source)?;
    let world = if case.file.schema.is_some() { World::Sink } else { World::Source };
    let case = ConnectorCase { world, ..case };
    let names: Vec<String> = case.file.peers.keys().map(|name| format!("{{{name}}}")).collect();
    let nowhere = |text: &str| names.iter().fold(text.to_owned(), |text, name| text.replace(name, "127.0.0.1:9"));
    // Text that looks like a variable is data.
    let as_it_is = Version { has_variables: false, ..Version::default() };
    let text = case.job(Path::new("plugin"), &nowhere)?;
    millstream_job::parse_as(&text, kinds::all(), (Path::new("case"), dir), &[], as_it_is)
}

/// Runs `work` on its own thread, whose stack is large enough for the plugin.
fn run_on_own_stack<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let bytes = PLUGIN_STACK_BYTES_MAX_MAX.saturating_add(2 * THREAD_STACK_BYTES_RESERVED);
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("case".into()).stack_size(bytes as usize);
        let thread = thread.spawn_scoped(scope, work);
        let thread = thread.map_err(|error| Error::environment(format!("cannot start a thread: {error}")))?;
        thread.join().unwrap_or_else(|_| Err(Error::bug("the thread of a case panicked")))
    })
}

impl ConnectorCase {
    fn read(dir: &Path, world: World) -> Result<ConnectorCase> {
        let path = dir.join("case.toml");
        let text = read_text(&path)?;
        let invalid = |message: &str| Error::job(format!("{}: {}", path.display(), message.trim_end()));
        let file: ConnectorFile = toml::from_str(&text).map_err(|cause| invalid(&cause.to_string()))?;
        super::check_version(file.version).map_err(|message| invalid(&message))?;
        let within = file.within.as_deref().map(units::time).transpose();
        let within = within.map_err(|message| invalid(&format!("`within`: {message}")))?.unwrap_or(WITHIN);
        Ok(ConnectorCase { dir: dir.into(), world, text, file, within })
    }

    /// Runs the case and returns the differences. If the output is to be accepted, adds the files that were written.
    fn differs(&self, plugin: &Path, accepted: Option<&mut Vec<PathBuf>>) -> Result<Option<String>> {
        let invalid = |message: &str| Error::job(format!("{}: {message}", self.dir.join("case.toml").display()));
        match (self.world, &self.file) {
            (World::Source, ConnectorFile { schema: Some(_), .. }) => {
                return Err(invalid("`schema` is for other plugins: a source defines its own columns; remove it"));
            }
            (World::Source, ConnectorFile { on_error: Some(_), .. }) => {
                return Err(invalid("`on_error` is for other plugins: a source rejects rows itself; remove it"));
            }
            (World::Sink, ConnectorFile { rows: Some(_), .. }) => {
                return Err(invalid("`rows` is for sources; remove it"));
            }
            (World::Sink, ConnectorFile { schema: None, .. }) => {
                return Err(invalid("the input's columns are missing; write schema = { value = \"text\" }"));
            }
            _ => {}
        }
        let mut peers = Peers::start(&self.file.peers, &self.dir)?;
        let graph = self.graph(plugin, &peers);
        match self.world {
            World::Sink => sink::differs(self, graph, &mut peers, accepted),
            _ => source::differs(self, graph, &mut peers, accepted),
        }
    }

    /// Returns whether reopening the plugin is tested.
    fn reopens(&self) -> bool {
        self.file.reopen.unwrap_or(true)
    }

    /// Returns the case as a job whose plugin is loaded. An error is that of the case, or of the plugin.
    fn graph(&self, plugin: &Path, peers: &Peers) -> Result<Graph> {
        let (section, inputs) = match self.world {
            World::Sink => (format!("sinks.{NAME}"), vec![INPUT.to_owned()]),
            _ => (format!("sources.{NAME}"), Vec::new()),
        };
        let text = self.job(plugin, &|text| peers.addressed(text))?;
        let (file, of) = (self.dir.join("case.toml"), self.text.clone());
        let job = CaseJob { text, file, of, inputs, section, dir: self.dir.clone(), workers: 1 };
        let spec = millstream_job::of_plugin_case(&job.text, kinds::all(), (&job.file, &job.of), &job.dir, |path| {
            job.paths_in_job(path)
        })?;
        Graph::resolve(spec, kinds::all(), &PluginHost::new()?, false, StartupRetry::No)
    }

    /// Returns the job file of the case. `addressed` inserts the addresses of its peers.
    fn job(&self, plugin: &Path, addressed: &dyn Fn(&str) -> String) -> Result<String> {
        let text = |value: &str| toml::Value::String(value.into());
        let plugin = plugin.to_str().map(text);
        let plugin =
            plugin.ok_or_else(|| Error::job("the path of the plugin's directory is not UTF-8; move it elsewhere"))?;
        let file = &self.file;
        let mut own = table([("kind", text("plugin")), ("plugin", plugin)]);
        for (key, value) in
            [("config", &file.config), ("grant", &file.grant), ("limits", &file.limits), ("on_error", &file.on_error)]
        {
            if let Some(value) = value {
                own.insert(key.into(), with_addresses(value, addressed));
            }
        }
        let queue = |path: &str| table([("kind", text("queue")), ("path", text(path))]);
        let (sources, sinks) = match &file.schema {
            Some(schema) => {
                let mut input = queue("input.jsonl");
                input.insert("schema".into(), schema.clone());
                own.insert("from".into(), text(INPUT));
                (table([(INPUT, input.into())]), table([(NAME, own.into())]))
            }
            None => {
                let mut output = queue("output.jsonl");
                output.insert("from".into(), text(NAME));
                (table([(NAME, own.into())]), table([("output", output.into())]))
            }
        };
        let job = table([("name", text(NAME)), ("sources", sources.into()), ("sinks", sinks.into())]);
        toml::to_string(&job).map_err(|cause| {
            Error::job(format!("{}: cannot create a job from it: {cause}", self.dir.join("case.toml").display()))
        })
    }

    /// Returns a file of the case, if it exists.
    fn file_if_exists(&self, name: &str) -> Option<PathBuf> {
        Some(self.dir.join(name)).filter(|path| path.exists())
    }
}

/// Returns the differences of a case whose plugin failed. An expected failure with another message can be accepted.
fn failed_case<T>(
    case: &ConnectorCase,
    peers: &Peers,
    expected: &ExpectedOutcome<T>,
    error: &Error,
    accepted: Option<&mut Vec<PathBuf>>,
) -> Result<Option<String>> {
    // Remove the addresses of this run.
    let error = Error { message: peers.named(&error.message), ..error.clone() };
    let difference = expected.check_error(Some(&error)).err().flatten();
    match (expected, &difference, accepted) {
        (ExpectedOutcome::Error(_), Some(_), Some(written)) => {
            CaseFileWriter { dir: &case.dir, written }.error(&error)?;
            Ok(None)
        }
        _ => Ok(difference),
    }
}

/// Waits after a transient error, a limited number of times. `failures` counts the errors without progress, which is
/// `what`.
fn retry(why: &str, failures: &mut u32, what: &str) -> Result<()> {
    *failures += 1;
    if *failures > RETRIES_MAX {
        return Err(Error::plugin(format!("{why} ({RETRIES_MAX} more times, without {what} in between)")));
    }
    std::thread::sleep(PAUSE);
    Ok(())
}

/// Returns the first unexpected line that a peer received, for peers with a file of expected lines.
fn peer_difference(case: &ConnectorCase, peers: &Peers) -> Result<Option<String>> {
    for (name, received) in peers.received() {
        let file = expected_file(name);
        let Some(path) = case.file_if_exists(&file) else { continue };
        let expected = read_text(&path)?;
        let (mut expected, mut got) = (expected.lines(), received.lines());
        for number in 1.. {
            let (expected, got) = (expected.next(), got.next());
            if expected != got {
                let [expected, got] = [expected, got].map(|line| line.unwrap_or("nothing more"));
                return Ok(Some(format!(
                    "peer `{name}` received something other than line {number} of {file}:\n  expected   \
                    {expected}\n  got        {got}"
                )));
            }
            if expected.is_none() {
                break;
            }
        }
    }
    Ok(None)
}

/// Writes actual output into files of a case, and lists these files.
struct CaseFileWriter<'a> {
    dir: &'a Path,
    written: &'a mut Vec<PathBuf>,
}

impl CaseFileWriter<'_> {
    fn write(&mut self, name: &str, text: &str) -> Result<()> {
        let path = self.dir.join(name);
        fs::write(&path, text).map_err(|error| failed("write", &path, &error))?;
        self.written.push(path);
        Ok(())
    }

    /// Writes the error of a case that expects one.
    fn error(&mut self, error: &Error) -> Result<()> {
        self.write("expected-error.txt", &format!("{}\n", super::accept::portable_message(&error.message)))
    }

    /// Removes the error that a case no longer expects.
    fn no_error<T>(&self, expected: &ExpectedOutcome<T>) -> Result<()> {
        let path = self.dir.join("expected-error.txt");
        match expected {
            ExpectedOutcome::Error(_) => fs::remove_file(&path).map_err(|cause| failed("remove", &path, &cause)),
            _ => Ok(()),
        }
    }
}

/// Inserts the addresses of peers into the strings of a value.
fn with_addresses(value: &toml::Value, addressed: &dyn Fn(&str) -> String) -> toml::Value {
    match value {
        toml::Value::String(text) => toml::Value::String(addressed(text)),
        toml::Value::Array(values) => {
            toml::Value::Array(values.iter().map(|value| with_addresses(value, addressed)).collect())
        }
        toml::Value::Table(entries) => {
            let entries = entries.iter().map(|(key, value)| (key.clone(), with_addresses(value, addressed)));
            toml::Value::Table(entries.collect())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_job_of_a_case_has_the_addresses_of_its_peers() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        write("server.txt", "> hello\n< there\n");
        write(
            "case.toml",
            "rows = 2\nconfig = { addresses = [\"{server}\"], template = \"{user}\" }\ngrant = { tcp = [\"{server}\"] }\n\
             [peers.server]\nkind = \"tcp\"\n",
        );
        let case = ConnectorCase::read(dir.path(), World::Source).unwrap();
        let peers = Peers::start(&case.file.peers, dir.path()).unwrap();
        let job: toml::Table = case.job(Path::new("p"), &|text| peers.addressed(text)).unwrap().parse().unwrap();
        let source = &job["sources"]["case"];
        let address = source["grant"]["tcp"][0].as_str().unwrap();
        assert!(address.starts_with("127.0.0.1:"), "{address}");
        assert_eq!(source["config"]["addresses"][0].as_str(), Some(address));
        assert_eq!(source["config"]["template"].as_str(), Some("{user}"));
        assert_eq!(peers.named(&format!("at {address}")), "at {server}");
        assert_eq!(job_of_case(dir.path()).unwrap().sources[0].plugin().unwrap().grant.tcp, ["127.0.0.1:9"]);
    }

    #[test]
    fn mistakes_name_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let error_of = |text: &str, script: &str, world: World| {
            fs::write(dir.path().join("case.toml"), text).unwrap();
            fs::write(dir.path().join("server.txt"), script).unwrap();
            let case = ConnectorCase::read(dir.path(), world);
            case.and_then(|case| case.differs(Path::new("p"), None)).unwrap_err().message
        };
        let peer = "[peers.server]\nkind = \"tcp\"\n";
        for (text, script, world, expected) in [
            ("colour = 1", "", World::Source, "case.toml: TOML parse error at line 1"),
            ("schema = {}", "", World::Source, "case.toml: `schema` is for other plugins"),
            ("within = \"x\"", "", World::Source, "case.toml: `within`: "),
            ("rows = 1\nschema = {}", "", World::Sink, "case.toml: `rows` is for sources"),
            ("", "", World::Sink, "case.toml: the input's columns are missing"),
            ("[peers.server]\nkind = \"smtp\"", "", World::Source, "`smtp`"),
            (
                "[peers.Server]\nkind = \"tcp\"",
                "",
                World::Source,
                "case.toml: peer `Server`: its name is invalid; use a-z",
            ),
            ("[peers.server]\nkind = \"http\"\nbytes = 3", "", World::Source, "`bytes` is the length"),
            ("[peers.other]\nkind = \"tcp\"", "", World::Source, "cannot read "),
            (peer, "> a\nb", World::Source, "server.txt:2: `b` is not one of"),
        ] {
            let message = error_of(text, script, world);
            assert!(message.contains(expected), "{expected}: {message}");
        }
    }
}
