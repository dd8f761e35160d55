//! Cases of plugins of the worlds `source` and `sink`, whose rows come from elsewhere or go there.
//!
//! A case is a folder `cases/<case>/`:
//!
//! - `case.toml`: what a job would say of the plugin (`config`, `grant`, `limits`; of a sink `on_error`, too, and the `schema` of
//!   its input), and its peers, `[peers.server]` with `kind = "tcp"` and so on: servers of this machine that do what their scripts
//!   say (`server.txt`, see `peer/script`). `{server}` in `config` and `grant` is the peer's address.
//! - of a source: `rows`, how many come, refused ones included, where its partitions do not come to their ends; and
//!   `expected.jsonl`.
//! - of a sink: `input.jsonl`, a JSON array of rows a line, a line a batch; and `expected-server.txt`, what that peer is to hear.
//! - or `expected-error.txt`, and perhaps `expected-rejected.jsonl`, as of other worlds.
//!
//! The plugin is called as a job would call it, one call after the other. Then it is tried what is hard to see in a job: whether a
//! source goes on at each of its positions, and whether a sink that promises exactly once knows a batch again. `reopen = false`
//! leaves that out.

mod sink;
mod source;

use super::compare::read_text;
use super::peer::{PeerSpec, Peers, expected_file};
use super::{CaseJob, CasesReport, ExpectedOutcome, table};
use crate::author::failed;
use millstream_base::error::{Error, Result};
use millstream_base::job::Version;
use millstream_base::job::spec::JobSpec;
use millstream_base::limits::{PLUGIN_STACK_BYTES_MAX_MAX, THREAD_STACK_BYTES_RESERVED};
use millstream_base::patience::ServerWait;
use millstream_base::units;
use millstream_connectors::kinds;
use millstream_engine::graph::Graph;
use millstream_packages::package::facts::PackageFacts;
use millstream_plugins::plugin::{PluginHost, World, component_file, read_component};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The name of the source or sink in the job that a case is.
const NAME: &str = "case";
/// The name of a sink's input.
const INPUT: &str = "input";
/// How long one run of a case takes at most, if the case does not say.
const WITHIN: Duration = Duration::from_secs(20);
/// How often something that passes is tried again without getting any further.
const AGAIN_MAX: u32 = 3;
/// How long it is waited before that, and at most where a plugin says when it wants to be asked again.
const PAUSE: Duration = Duration::from_millis(20);

/// `case.toml`. What belongs to the job goes there as it is.
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
    folder: PathBuf,
    world: World,
    /// The text of `case.toml`.
    text: String,
    file: ConnectorFile,
    /// How long one run takes at most.
    within: Duration,
}

/// The world of the plugin in a folder, if it is one of these.
pub(super) fn world(folder: &Path) -> Result<Option<World>> {
    let file = component_file(folder)?;
    let facts = PackageFacts::of(&read_component(&file)?, &file.display().to_string())?;
    Ok(Some(facts.world).filter(|world| matches!(world, World::Source | World::Sink)))
}

/// Runs the cases of a plugin of one of these worlds.
pub(super) fn run(folder: &Path, world: World, accepts: bool) -> Result<CasesReport> {
    let plugin = super::plugin_folder(folder)?;
    super::all(folder, accepts, &|case, accepted| {
        aside(|| ConnectorCase::read(case, world)?.differs(&plugin, accepted))
    })
}

/// The job of a case that is only to be described: its peers are not there.
pub(super) fn described(folder: &Path) -> Result<JobSpec> {
    let case = ConnectorCase::read(folder, World::Source)?;
    let world = if case.file.schema.is_some() { World::Sink } else { World::Source };
    let case = ConnectorCase { world, ..case };
    let names: Vec<String> = case.file.peers.keys().map(|name| format!("{{{name}}}")).collect();
    let nowhere = |text: &str| names.iter().fold(text.to_owned(), |text, name| text.replace(name, "127.0.0.1:9"));
    // What looks like a variable is data.
    let as_it_is = Version { has_variables: false, ..Version::default() };
    let text = case.job(Path::new("plugin"), &nowhere)?;
    millstream_base::job::parse_as(&text, kinds::all(), (Path::new("case"), folder), &[], as_it_is)
}

/// Runs this on a thread of its own, whatever the stack of this one: a plugin has its stack there.
fn aside<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let bytes = PLUGIN_STACK_BYTES_MAX_MAX.saturating_add(2 * THREAD_STACK_BYTES_RESERVED);
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("case".into()).stack_size(bytes as usize);
        let thread = thread.spawn_scoped(scope, work);
        let thread = thread.map_err(|error| Error::environment(format!("cannot start a thread: {error}")))?;
        thread.join().unwrap_or_else(|_| Err(Error::bug("the thread of a case panicked")))
    })
}

impl ConnectorCase {
    fn read(folder: &Path, world: World) -> Result<ConnectorCase> {
        let path = folder.join("case.toml");
        let text = read_text(&path)?;
        let wrong = |words: &str| Error::job(format!("{}: {}", path.display(), words.trim_end()));
        let file: ConnectorFile = toml::from_str(&text).map_err(|cause| wrong(&cause.to_string()))?;
        super::check_version(file.version).map_err(|words| wrong(&words))?;
        let within = file.within.as_deref().map(units::time).transpose();
        let within = within.map_err(|words| wrong(&format!("`within`: {words}")))?.unwrap_or(WITHIN);
        Ok(ConnectorCase { folder: folder.into(), world, text, file, within })
    }

    /// What is not as expected. Where what comes out is to be accepted, the files that were written are added there.
    fn differs(&self, plugin: &Path, accepted: Option<&mut Vec<PathBuf>>) -> Result<Option<String>> {
        let wrong = |words: &str| Error::job(format!("{}: {words}", self.folder.join("case.toml").display()));
        match (self.world, &self.file) {
            (World::Source, ConnectorFile { schema: Some(_), .. }) => {
                return Err(wrong("`schema` is for other plugins: a source defines its own columns; remove it"));
            }
            (World::Source, ConnectorFile { on_error: Some(_), .. }) => {
                return Err(wrong("`on_error` is for other plugins: a source rejects rows itself; remove it"));
            }
            (World::Sink, ConnectorFile { rows: Some(_), .. }) => {
                return Err(wrong("`rows` is for sources; remove it"));
            }
            (World::Sink, ConnectorFile { schema: None, .. }) => {
                return Err(wrong("the input's columns are missing; write schema = { value = \"text\" }"));
            }
            _ => {}
        }
        let mut peers = Peers::start(&self.file.peers, &self.folder)?;
        let graph = self.graph(plugin, &peers);
        match self.world {
            World::Sink => sink::differs(self, graph, &mut peers, accepted),
            _ => source::differs(self, graph, &mut peers, accepted),
        }
    }

    /// Whether it is tried what becomes of a plugin that is opened again.
    fn reopens(&self) -> bool {
        self.file.reopen.unwrap_or(true)
    }

    /// The case as a job whose plugin is loaded. An error is that of the case, or of the plugin.
    fn graph(&self, plugin: &Path, peers: &Peers) -> Result<Graph> {
        let (section, inputs) = match self.world {
            World::Sink => (format!("sinks.{NAME}"), vec![INPUT.to_owned()]),
            _ => (format!("sources.{NAME}"), Vec::new()),
        };
        let text = self.job(plugin, &|text| peers.addressed(text))?;
        let (file, of) = (self.folder.join("case.toml"), self.text.clone());
        let job = CaseJob { text, file, of, inputs, section, folder: self.folder.clone(), workers: 1 };
        let spec = millstream_base::job::made_of(&job.text, kinds::all(), (&job.file, &job.of), &job.folder, |path| {
            job.places(path)
        })?;
        Graph::resolve(spec, &PluginHost::new()?, false, ServerWait::No)
    }

    /// The job file of the case; `addressed`: with the addresses of its peers.
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
            Error::job(format!("{}: cannot make a job of it: {cause}", self.folder.join("case.toml").display()))
        })
    }

    /// A file of the case, if it is there.
    fn beside(&self, name: &str) -> Option<PathBuf> {
        Some(self.folder.join(name)).filter(|path| path.exists())
    }
}

/// What is not as expected of a case whose plugin failed; that it should is accepted, where it fails otherwise than expected.
fn failed_case<T>(
    case: &ConnectorCase,
    peers: &Peers,
    expected: &ExpectedOutcome<T>,
    error: &Error,
    accepted: Option<&mut Vec<PathBuf>>,
) -> Result<Option<String>> {
    // Without the addresses of this run.
    let error = Error { message: peers.named(&error.message), ..error.clone() };
    let difference = expected.fails(Some(&error)).err().flatten();
    match (expected, &difference, accepted) {
        (ExpectedOutcome::Error(_), Some(_), Some(written)) => {
            CaseFileWriter { folder: &case.folder, written }.error(&error)?;
            Ok(None)
        }
        _ => Ok(difference),
    }
}

/// Waits where something passes, a few times. `failures`: how often it did not, without getting any further, which is `what`.
fn again(why: &str, failures: &mut u32, what: &str) -> Result<()> {
    *failures += 1;
    if *failures > AGAIN_MAX {
        return Err(Error::plugin(format!("{why} ({AGAIN_MAX} more times, without {what} in between)")));
    }
    std::thread::sleep(PAUSE);
    Ok(())
}

/// The first line that a peer heard and should not have, of those peers of which the case says what they are to hear.
fn heard_differs(case: &ConnectorCase, peers: &Peers) -> Result<Option<String>> {
    for (name, heard) in peers.heard() {
        let file = expected_file(name);
        let Some(path) = case.beside(&file) else { continue };
        let expected = read_text(&path)?;
        let (mut expected, mut got) = (expected.lines(), heard.lines());
        for number in 1.. {
            let (expected, got) = (expected.next(), got.next());
            if expected != got {
                let [expected, got] = [expected, got].map(|line| line.unwrap_or("nothing more"));
                return Ok(Some(format!(
                    "peer `{name}` received something else than {file} says in line {number}:\n  expected   {expected}\n  got        {got}"
                )));
            }
            if expected.is_none() {
                break;
            }
        }
    }
    Ok(None)
}

/// Writes what came out into files of a case, of which it keeps a list.
struct CaseFileWriter<'a> {
    folder: &'a Path,
    written: &'a mut Vec<PathBuf>,
}

impl CaseFileWriter<'_> {
    fn write(&mut self, name: &str, text: &str) -> Result<()> {
        let path = self.folder.join(name);
        fs::write(&path, text).map_err(|error| failed("write", &path, &error))?;
        self.written.push(path);
        Ok(())
    }

    /// The error of a case that expects one.
    fn error(&mut self, error: &Error) -> Result<()> {
        self.write("expected-error.txt", &format!("{}\n", super::accept::own_words(&error.message)))
    }

    /// A case does not expect an error any more.
    fn no_error<T>(&self, expected: &ExpectedOutcome<T>) -> Result<()> {
        let path = self.folder.join("expected-error.txt");
        match expected {
            ExpectedOutcome::Error(_) => fs::remove_file(&path).map_err(|cause| failed("remove", &path, &cause)),
            _ => Ok(()),
        }
    }
}

/// A value with the addresses of peers in its texts.
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
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("server.txt", "> hello\n< there\n");
        write(
            "case.toml",
            "rows = 2\nconfig = { addresses = [\"{server}\"], template = \"{user}\" }\ngrant = { tcp = [\"{server}\"] }\n\
             [peers.server]\nkind = \"tcp\"\n",
        );
        let case = ConnectorCase::read(folder.path(), World::Source).unwrap();
        let peers = Peers::start(&case.file.peers, folder.path()).unwrap();
        let job: toml::Table = case.job(Path::new("p"), &|text| peers.addressed(text)).unwrap().parse().unwrap();
        let source = &job["sources"]["case"];
        let address = source["grant"]["tcp"][0].as_str().unwrap();
        assert!(address.starts_with("127.0.0.1:"), "{address}");
        assert_eq!(source["config"]["addresses"][0].as_str(), Some(address));
        assert_eq!(source["config"]["template"].as_str(), Some("{user}"));
        assert_eq!(peers.named(&format!("at {address}")), "at {server}");
        assert_eq!(described(folder.path()).unwrap().sources[0].plugin().unwrap().grant.tcp, ["127.0.0.1:9"]);
    }

    #[test]
    fn mistakes_name_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let told = |text: &str, script: &str, world: World| {
            fs::write(folder.path().join("case.toml"), text).unwrap();
            fs::write(folder.path().join("server.txt"), script).unwrap();
            let case = ConnectorCase::read(folder.path(), world);
            case.and_then(|case| case.differs(Path::new("p"), None)).unwrap_err().message
        };
        let peer = "[peers.server]\nkind = \"tcp\"\n";
        for (text, script, world, words) in [
            ("colour = 1", "", World::Source, "case.toml: TOML parse error at line 1"),
            ("schema = {}", "", World::Source, "case.toml: `schema` is for other plugins"),
            ("within = \"x\"", "", World::Source, "case.toml: `within`: "),
            ("rows = 1\nschema = {}", "", World::Sink, "case.toml: `rows` is for sources"),
            ("", "", World::Sink, "case.toml: the input's columns are missing"),
            ("[peers.server]\nkind = \"smtp\"", "", World::Source, "`smtp`"),
            ("[peers.Server]\nkind = \"tcp\"", "", World::Source, "case.toml: peer `Server`: its name is not of a-z"),
            ("[peers.server]\nkind = \"http\"\nbytes = 3", "", World::Source, "`bytes` is the length"),
            ("[peers.other]\nkind = \"tcp\"", "", World::Source, "cannot read "),
            (peer, "> a\nb", World::Source, "server.txt:2: `b` is not one of"),
        ] {
            let message = told(text, script, world);
            assert!(message.contains(words), "{words}: {message}");
        }
    }
}
