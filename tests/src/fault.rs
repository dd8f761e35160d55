//! The corpus of hostile components: `tests/fault/*.wat`. The head of each file says what must happen to it.

mod build;

pub use build::{section, sections};

use crate::root;
use std::collections::BTreeMap;
use std::path::Path;

/// When a component shows that it is hostile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailurePoint {
    /// It cannot be loaded.
    Load,
    /// `describe` fails, or the instance in which it would run.
    Describe,
    /// A call with rows fails.
    Call,
    /// It does no harm: the job completes.
    Nowhere,
}

/// The rows that a stage with `on_error = "reject"` rejects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejects {
    /// Every row of every batch.
    All,
    /// Rows with an exclamation mark.
    Poison,
    /// None.
    None,
    /// The job stops anyway.
    Stop,
}

/// A hostile component and what must happen to it.
#[derive(Clone, Debug)]
pub struct Case {
    /// The file's name, without its ending.
    pub name: String,
    /// The world of the component.
    pub world: String,
    /// When it fails.
    pub point: FailurePoint,
    /// A piece of the message.
    pub says: String,
    /// A piece of the message where calls are stopped by their instructions.
    pub says_with_fuel: String,
    /// The word of what ended its call.
    pub trap: Option<String>,
    /// The effect on a stage that rejects rows.
    pub rejects: Rejects,
    /// Limits of the stage, as the job file has them.
    pub limits: BTreeMap<String, String>,
    /// Whether loading and calling it within a process is enough to detect the fault. Otherwise the test runs the complete
    /// program.
    pub in_process: bool,
    form: Form,
    wit: String,
    cut: usize,
    tail: usize,
    nest: usize,
    text: String,
}

/// What the text of a case contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Parts of a core module, placed before `prelude/`, from which a component is built.
    Module,
    /// Parts of a component that are appended to a well-behaved plugin.
    Appended,
    /// A complete module or component.
    Complete,
    /// The file itself.
    File,
}

impl Case {
    /// The component's bytes.
    pub fn component(&self) -> Vec<u8> {
        let mut bytes = match self.form {
            Form::Module => build::plugin(&self.world, &self.text, &self.wit),
            Form::Appended => build::append_parts(&build::plugin(&self.world, "", ""), &self.text),
            Form::Complete => build::encoded(&self.text),
            Form::File => self.text.clone().into_bytes(),
        };
        for _ in 0..self.nest {
            bytes = build::nested(&bytes);
        }
        bytes.truncate(bytes.len().saturating_sub(self.cut));
        bytes.extend(std::iter::repeat_n(0xa5, self.tail));
        bytes
    }

    /// Whether it is small enough to be written by hand.
    pub fn is_small(&self) -> bool {
        self.text.len() < 10_000
    }

    /// Returns the `limits` keys of a stage. Instructions are counted, and can be limited, only if the stage rejects rows.
    pub fn limits(&self, with_fuel: bool) -> String {
        let keys = self.limits.iter().filter(|(key, _)| with_fuel || *key != "fuel");
        keys.map(|(key, value)| format!("{key} = {value}")).collect::<Vec<_>>().join(", ")
    }

    fn read(path: &Path) -> Case {
        let name = path.file_stem().expect("a file has a name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut case = Case {
            name,
            world: "transform".into(),
            point: FailurePoint::Call,
            says: String::new(),
            says_with_fuel: String::new(),
            trap: None,
            rejects: Rejects::Poison,
            limits: BTreeMap::new(),
            in_process: true,
            form: Form::Module,
            wit: String::new(),
            cut: 0,
            tail: 0,
            nest: 0,
            text: String::new(),
        };
        let mut rejects = None;
        let mut lines = text.split_inclusive('\n').peekable();
        while let Some(line) = lines.next_if(|line| line.starts_with(";;")) {
            let Some((key, value)) = line.trim_start_matches(';').trim().split_once(": ") else { continue };
            if !key.contains(' ') {
                case.set(key, value, &mut rejects);
            }
        }
        let by_point = if matches!(case.point, FailurePoint::Load | FailurePoint::Describe) {
            Rejects::Stop
        } else {
            Rejects::Poison
        };
        let harmless = if case.point == FailurePoint::Nowhere { Rejects::None } else { by_point };
        case.rejects = rejects.unwrap_or(harmless);
        // Only code that does not end on its own must reach the time limit, however busy the machine is.
        let time = if case.says.contains("time limit") { "300ms" } else { "20s" };
        let fuel = if case.point == FailurePoint::Nowhere { "2000000000" } else { "20000000" };
        for (key, value) in [("time", format!("\"{time}\"")), ("fuel", fuel.into()), ("memory", "\"4MiB\"".into())] {
            case.limits.entry(key.into()).or_insert(value);
        }
        if case.says_with_fuel.is_empty() {
            case.says_with_fuel = case.says.clone();
        }
        assert!(!case.says.is_empty() || case.point == FailurePoint::Nowhere, "{}: it must say something", case.name);
        case.text = build::repeated(&lines.collect::<String>());
        case
    }

    fn set(&mut self, key: &str, value: &str, rejects: &mut Option<Rejects>) {
        let unknown = || -> ! { panic!("{}: what is `{key}: {value}`?", self.name) };
        match (key, value) {
            ("world", world) => self.world = world.into(),
            ("in", "load") => self.point = FailurePoint::Load,
            ("in", "describe") => self.point = FailurePoint::Describe,
            ("in", "call") => self.point = FailurePoint::Call,
            ("in", "nowhere") => self.point = FailurePoint::Nowhere,
            ("says", message) => self.says = message.into(),
            ("fuel", message) => self.says_with_fuel = message.into(),
            ("trap", word) => self.trap = Some(word.into()),
            ("rejects", "all") => *rejects = Some(Rejects::All),
            ("rejects", "poison") => *rejects = Some(Rejects::Poison),
            ("rejects", "none") => *rejects = Some(Rejects::None),
            ("rejects", "stop") => *rejects = Some(Rejects::Stop),
            ("limits", limits) => {
                for limit in limits.split(", ") {
                    let (key, value) = limit.split_once(" = ").unwrap_or_else(|| unknown());
                    self.limits.insert(key.into(), value.into());
                }
            }
            ("form", "behind") => self.form = Form::Appended,
            ("form", "whole") => self.form = Form::Complete,
            ("form", "file") => self.form = Form::File,
            ("only", "program") => self.in_process = false,
            ("wit", line) => self.wit.push_str(&format!("{line}\n")),
            ("cut", bytes) => self.cut = bytes.parse().unwrap_or_else(|_| unknown()),
            ("tail", bytes) => self.tail = bytes.parse().unwrap_or_else(|_| unknown()),
            ("nest", levels) => self.nest = levels.parse().unwrap_or_else(|_| unknown()),
            _ => unknown(),
        }
    }
}

/// Returns all cases, ordered by name.
pub fn cases() -> Vec<Case> {
    let dir = root().join("tests/fault");
    let files = std::fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut files: Vec<_> = files.map(|file| file.expect("the folder can be read").path()).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "wat"));
    files.sort();
    files.iter().map(|file| Case::read(file)).collect()
}

/// Returns a minimal well-behaved plugin of a world: it returns its rows unchanged.
pub fn good_plugin(world: &str) -> Vec<u8> {
    build::plugin(world, "", "")
}

/// A plugin of a world with these parts of its core module; see `fault/prelude`.
pub fn plugin_with(world: &str, parts: &str) -> Vec<u8> {
    build::plugin(world, parts, "")
}

/// Returns a plugin with these component parts appended.
pub fn plugin_with_appended(plugin: &[u8], parts: &str) -> Vec<u8> {
    build::append_parts(plugin, parts)
}
