//! A directory in which a user follows the pages.

use millstream_tests::{Ended, Process, millstream};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// Plugins are compiled from scratch, possibly next to other builds.
const BUILDS_WITHIN: Duration = Duration::from_secs(600);

/// A directory with its own settings, store and sockets. It stays from run to run at the same path, so that cargo rebuilds only
/// what has changed.
pub struct Workspace {
    pub dir: PathBuf,
    /// As users write it.
    registry: String,
    /// The paths of sockets must be short.
    sockets: TempDir,
}

impl Workspace {
    /// An empty one.
    pub fn new(name: &str, registry: &str) -> Workspace {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("newcomer").join(name);
        if dir.exists() {
            fs::remove_dir_all(&dir).unwrap();
        }
        fs::create_dir_all(dir.join("bin")).unwrap();
        std::os::unix::fs::symlink(millstream().canonicalize().unwrap(), dir.join("bin/millstream")).unwrap();
        let sockets = TempDir::new().unwrap();
        Workspace { dir, registry: registry.into(), sockets }
    }

    /// Lines of the pages for the registry of this test.
    pub fn adapted(&self, lines: &str) -> String {
        if self.registry == "registry" {
            return lines.into();
        }
        let registry = format!("--registry {}", self.registry);
        lines.replace("--registry ../registry", &registry).replace("--registry registry", &registry)
    }

    /// Settings of the pages for the registry of this test.
    pub fn settings(&self, text: &str) -> String {
        let dir = self.dir.join(&self.registry).display().to_string();
        let registry = if self.registry.starts_with("oci://") { &self.registry } else { &dir };
        text.replace("oci://registry.example.com/plugins", registry)
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn text(&self, name: &str) -> String {
        fs::read_to_string(self.dir.join(name)).unwrap_or_default()
    }

    fn shell(&self, lines: &str) -> Command {
        let path = format!("{}:{}", self.dir.join("bin").display(), std::env::var("PATH").unwrap());
        let mut shell = Command::new("bash");
        shell.args(["-euc", lines]).current_dir(&self.dir).env("PATH", path);
        shell.env("MILLSTREAM_CONFIG", self.dir.join("config")).env("MILLSTREAM_STORE", self.dir.join("store"));
        shell.env("XDG_RUNTIME_DIR", self.sockets.path()).env_remove("MILLSTREAM_POLICY");
        // Logins on this machine are not used.
        shell.env("DOCKER_CONFIG", self.dir.join("docker")).env_remove("REGISTRY_AUTH_FILE");
        shell.env("CARGO_TARGET_DIR", self.dir.with_extension("target"));
        // The SDK needs no crate that the project itself does not need.
        shell.env("CARGO_NET_OFFLINE", "true");
        shell.envs([("CARGO_PROFILE_DEV_DEBUG", "0"), ("CARGO_INCREMENTAL", "0")]);
        shell
    }

    /// Runs these lines in a shell; returns both outputs in one.
    pub fn try_run(&self, lines: &str) -> Ended {
        Process::start(&mut self.shell(&format!("exec 2>&1\n{}", self.adapted(lines)))).wait_within(BUILDS_WITHIN)
    }

    /// Runs these lines, which must do. Returns what they say.
    #[track_caller]
    pub fn run_ok(&self, lines: &str) -> String {
        let ended = self.try_run(lines);
        assert_eq!(ended.code, Some(0), "{lines}\n{}", ended.stdout);
        ended.stdout
    }

    /// Runs these lines, which must end with this exit code. Returns what they say.
    #[track_caller]
    pub fn run_failing(&self, lines: &str, code: i32) -> String {
        let ended = self.try_run(lines);
        assert_eq!(ended.code, Some(code), "{lines}\n{}", ended.stdout);
        ended.stdout
    }

    /// Starts the last of these lines as a process of its own, which signals reach.
    pub fn start(&self, lines: &str) -> Process {
        let lines = self.adapted(lines.trim_end());
        let (before, last) = lines.rsplit_once('\n').unwrap_or(("", &lines));
        Process::start(&mut self.shell(&format!("{before}\nexec {last}")))
    }

    /// The rows that a `files` sink has written, part by part.
    pub fn parts(&self, name: &str) -> Vec<Vec<Value>> {
        let entries = fs::read_dir(self.dir.join(name)).into_iter().flatten().flatten().map(|entry| entry.path());
        let is_part = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("part-"));
        let mut paths: Vec<_> = entries.filter(is_part).collect();
        paths.sort();
        let row = |line: &str| serde_json::from_str(line).expect("a sink writes JSON");
        paths.iter().map(|path| fs::read_to_string(path).unwrap().lines().map(row).collect()).collect()
    }
}

/// Asserts that a text has all of these parts.
#[track_caller]
pub fn assert_contains(output: &str, parts: &[&str]) {
    for part in parts {
        assert!(output.contains(part), "no {part:?} in\n{output}");
    }
}
