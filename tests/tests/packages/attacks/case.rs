//! One attack: the command reports what is wrong, within bounded time and memory, and leaves no trace.

use super::goods::{Goods, NAME, VERSION, digest};
use millstream_tests::{LyingRegistry, LyingRequest, LyingResponse, Process, Trial};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The time limit of a registry for one response.
const REGISTRY_SECONDS: &str = "3";
/// The time limit of a command: three requests to a registry, and some time on a busy machine.
const TIME_MAX: Duration = Duration::from_secs(45);
/// The memory limit of a command and its child.
const MEMORY_BYTES_MAX: u64 = 700 << 20;

const JOB: &str = r#"
clock = "manual"
workers = 1
[sources.lines]
kind = "queue"
path = "input.jsonl"
schema = { value = "text" }
[stages.words]
from = "lines"
plugin = "split-words@0.1.0"
[sinks.out]
from = "words"
kind = "queue"
path = "out.jsonl"
"#;

/// A user's action that encounters an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Pull,
    Add,
    /// With a lock file of another user who saw the package as it is served.
    Run,
}

pub const WAYS: [Way; 3] = [Way::Pull, Way::Add, Way::Run];

/// A registry's response instead of the truth; `None`: the truth.
type Lie = Box<dyn Fn(&LyingRequest, &Goods) -> Option<LyingResponse> + Send + Sync>;

pub struct Attack {
    /// For messages of the test.
    pub name: String,
    goods: Goods,
    lie: Lie,
    policy: String,
    /// A part of the expected error, so that it is for the right reason; several if chance decides, as `a|b`.
    says: String,
    ways: Vec<Way>,
}

impl Attack {
    pub fn new(name: &str, says: &str) -> Attack {
        Attack {
            name: name.into(),
            goods: Goods::honest(),
            lie: Box::new(|_, _| None),
            policy: String::new(),
            says: says.into(),
            ways: WAYS.to_vec(),
        }
    }

    pub fn goods(self, goods: Goods) -> Attack {
        Attack { goods, ..self }
    }

    pub fn lie(self, lie: impl Fn(&LyingRequest, &Goods) -> Option<LyingResponse> + Send + Sync + 'static) -> Attack {
        Attack { lie: Box::new(lie), ..self }
    }

    /// Lies about all requests below a path, for example `manifests/`.
    pub fn at(self, path: &'static str, answer: impl Fn(&Goods) -> LyingResponse + Send + Sync + 'static) -> Attack {
        self.lie(move |requested, goods| requested.path.contains(path).then(|| answer(goods)))
    }

    /// Lies about the component.
    pub fn at_component(self, answer: impl Fn(&Goods) -> LyingResponse + Send + Sync + 'static) -> Attack {
        self.lie(move |requested, goods| requested.path.contains(&digest(&goods.component)).then(|| answer(goods)))
    }

    /// With the user's policy.
    pub fn policy(self, policy: impl Into<String>) -> Attack {
        Attack { policy: policy.into(), ..self }
    }

    pub fn ways(self, ways: &[Way]) -> Attack {
        Attack { ways: ways.to_vec(), ..self }
    }

    /// Comes across it in all ways, and returns what is wrong with what happened.
    pub fn fails(self) -> Vec<String> {
        let Attack { name, goods, lie, policy, says, ways } = self;
        let served = goods.clone();
        let registry =
            LyingRegistry::start(move |requested| lie(requested, &served).unwrap_or_else(|| served.answer(requested)));
        let address = format!("oci://{}/team", registry.host());
        let wrong = |way: Way| {
            let workspace = Workspace::new(&policy);
            let output = workspace.attempt(way, &address, &goods).check_rejected(&says);
            output.err().map(|output| format!("{name}: {way:?}: {output}\nasked: {:?}", registry.requests()))
        };
        ways.into_iter().filter_map(wrong).collect()
    }
}

/// Runs all of them, some at a time; panics with each that failed.
pub fn check_all_rejected(attacks: Vec<Attack>) {
    let attacks = std::sync::Mutex::new(attacks.into_iter());
    let next = || attacks.lock().expect("nobody panics there").next();
    let work = || {
        let mut wrong = Vec::new();
        while let Some(attack) = next() {
            wrong.extend(attack.fails());
        }
        wrong
    };
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no attack panics")).collect()
    });
    assert!(wrong.is_empty(), "{} went wrong:\n\n{}", wrong.len(), wrong.join("\n\n"));
}

/// A machine of its own: a job, settings, a store.
pub struct Workspace {
    pub trial: Trial,
}

/// The result of a command.
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    took: Duration,
    memory_bytes: u64,
    /// Files that were created or changed against the rules.
    traces: Vec<String>,
}

impl Workspace {
    pub fn new(policy: &str) -> Workspace {
        let trial = Trial::new(JOB);
        trial.write("input.jsonl", "[{\"value\":\"so it goes\"}]\n");
        trial.write("config/policy.toml", policy);
        trial.write("tmp/.keep", "");
        trial.write("home/.keep", "");
        Workspace { trial }
    }

    /// A command that sees nothing of the machine outside of this directory.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.trial.command(arguments);
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path).env("MILLSTREAM_REGISTRY_SECONDS", REGISTRY_SECONDS);
        for (name, dir) in [
            ("HOME", "home"),
            ("TMPDIR", "tmp"),
            ("MILLSTREAM_CONFIG", "config"),
            ("MILLSTREAM_STORE", "store"),
            ("XDG_CACHE_HOME", "cache"),
            ("XDG_STATE_HOME", "state"),
            ("XDG_RUNTIME_DIR", "tmp"),
        ] {
            command.env(name, self.trial.path(dir));
        }
        command
    }

    pub fn attempt(&self, way: Way, registry: &str, goods: &Goods) -> Outcome {
        if way == Way::Run {
            self.pin(registry, goods);
        }
        self.look(self.way(way, registry))
    }

    /// The same with one more variable, in the directory of the lock file.
    pub fn with(&self, way: Way, registry: &str, (name, value): (&str, &Path)) -> Outcome {
        let mut command = self.way(way, registry);
        command.env(name, value);
        self.look(command)
    }

    fn way(&self, way: Way, registry: &str) -> Command {
        let package = format!("{NAME}@{VERSION}");
        match way {
            Way::Pull => self.command(&["pull", &package, "--registry", registry]),
            Way::Add => {
                self.command(&["add", &package, "--registry", registry, "--job", "job.toml", "--stage", "words"])
            }
            Way::Run => self.command(&["run", "job.toml"]),
        }
    }

    /// Writes a lock file that pins the package.
    pub fn pin(&self, registry: &str, goods: &Goods) {
        let lock = format!(
            "[[package]]\nname = \"{NAME}\"\nversion = \"{VERSION}\"\nregistry = \"{registry}\"\nmanifest = \"{}\"\nlayer = \
             \"{}\"\n",
            digest(&goods.manifest),
            digest(&goods.component)
        );
        self.trial.write("millstream.lock", lock);
    }

    pub fn run(&self, arguments: &[&str]) -> Outcome {
        self.look(self.command(arguments))
    }

    fn look(&self, mut command: Command) -> Outcome {
        let before = tree(self.trial.dir());
        let begun = Instant::now();
        let mut process = Process::start(&mut command);
        let mut memory_bytes = 0;
        while !process.has_ended() && begun.elapsed() < TIME_MAX {
            let ids = process.children().into_iter().chain([process.id()]);
            memory_bytes = memory_bytes.max(ids.filter_map(peak_bytes).sum());
            std::thread::sleep(Duration::from_millis(2));
        }
        let took = begun.elapsed();
        if !process.has_ended() {
            process.signal("KILL");
        }
        let ended = process.wait();
        let after = tree(self.trial.dir());
        let changed = after.iter().filter(|(path, what)| before.get(*path) != Some(what)).map(|(path, _)| path);
        let gone = before.keys().filter(|path| !after.contains_key(*path));
        let traces = changed.chain(gone).filter(|path| !may_be_written(path)).map(|path| path.display().to_string());
        Outcome {
            code: ended.code,
            stdout: ended.stdout,
            stderr: ended.stderr,
            took,
            memory_bytes,
            traces: traces.collect(),
        }
    }
}

impl Outcome {
    /// Checks that it was rejected for this reason, or one of these (`a|b`), and left no trace.
    pub fn check_rejected(&self, says: &str) -> Result<(), String> {
        let Outcome { code, stdout, stderr, took, memory_bytes, traces } = self;
        let story = format!(
            "{took:?}, {} MiB, exit code {code:?}\n--- stdout\n{stdout}--- stderr\n{stderr}",
            memory_bytes >> 20
        );
        let is_printed = |c: char| c == '\n' || !c.is_control();
        match () {
            () if !matches!(code, Some(1 | 2)) => Err(format!("it was not refused: {story}")),
            () if !says.split('|').any(|says| stderr.contains(says)) => {
                Err(format!("it does not say {says:?}: {story}"))
            }
            () if !stdout.is_empty() => Err(format!("it says something else too: {story}")),
            () if !stderr.chars().all(is_printed) => Err(format!("it steers the terminal: {story:?}")),
            () if stderr.len() > 8192 => Err(format!("it says too much: {} bytes", stderr.len())),
            () if stderr.contains("please report it") || stderr.contains("panicked") => {
                Err(format!("it is a bug: {story}"))
            }
            () if *took >= TIME_MAX => Err(format!("it took too long: {story}")),
            () if *memory_bytes > MEMORY_BYTES_MAX => Err(format!("it took too much memory: {story}")),
            () if !traces.is_empty() => Err(format!("it left traces ({traces:?}): {story}")),
            () => Ok(()),
        }
    }

    /// That all went well.
    pub fn check_ok(&self) {
        assert_eq!(self.code, Some(0), "{}{}", self.stdout, self.stderr);
    }
}

/// The existing files: kind, size and content of each path.
pub fn tree(dir: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in std::fs::read_dir(&next).expect("a folder").flatten() {
            let path = entry.path();
            let is = std::fs::symlink_metadata(&path).expect("it is there");
            if is.is_dir() {
                dirs.push(path.clone());
            }
            let content = if is.is_file() { std::fs::read(&path).expect("a file") } else { Vec::new() };
            let name = path.strip_prefix(dir).expect("it lies there").to_owned();
            found.insert(name, (is.mode(), content));
        }
    }
    found
}

/// The store's notes without any bytes of packages, and the empty directory of compiled code.
fn may_be_written(path: &Path) -> bool {
    let dirs =
        ["cache", "cache/millstream", "cache/millstream/compiled", "state", "state/millstream", "store", "store/locks"];
    let files = ["state/millstream/cache.key", "store/lock"];
    dirs.iter().chain(&files).any(|may| path == Path::new(may)) || path.starts_with("store/locks")
}

/// The peak memory of a process; `None` if it has exited.
fn peak_bytes(id: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok()? * 1024)
}
