//! The corpus of hostile components: `tests/fault/*.wat`, each with a head that says what must become of it.

mod build;

pub use build::{section, sections};

use crate::root;
use std::collections::BTreeMap;
use std::path::Path;

/// Where a component shows what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It is not loaded.
    Load,
    /// `describe` fails, or the instance in which it would run.
    Describe,
    /// A call with rows fails.
    Call,
    /// It does harm to nobody: the job comes to its end.
    Nowhere,
}

/// The rows that a stage with `on_error = "reject"` rejects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejects {
    /// Every row of every batch.
    All,
    /// Those with an exclamation mark.
    Poison,
    /// None.
    None,
    /// The job stops all the same.
    Stop,
}

/// One hostile component, and what must become of it.
#[derive(Clone, Debug)]
pub struct Case {
    /// The file's name, without its ending.
    pub name: String,
    /// Its world.
    pub world: String,
    /// Where it fails.
    pub place: Place,
    /// A piece of the message.
    pub says: String,
    /// A piece of the message where calls are stopped by their instructions.
    pub says_with_fuel: String,
    /// The word of what ended its call.
    pub trap: Option<String>,
    /// What a stage does that rejects rows.
    pub rejects: Rejects,
    /// Limits of the stage, as the job file has them.
    pub limits: BTreeMap<String, String>,
    /// Whether it can be told apart from a good one within a process, by loading and calling it. Otherwise it takes the
    /// whole program.
    pub in_process: bool,
    form: Form,
    wit: String,
    cut: usize,
    tail: usize,
    nest: usize,
    text: String,
}

/// What the text of a case is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Parts of a core module, in front of `prelude/`, of which a component is made.
    Module,
    /// Parts of a component, behind a well-behaved plugin.
    Behind,
    /// A whole module or component.
    Whole,
    /// The file itself.
    File,
}

impl Case {
    /// The component's bytes.
    pub fn component(&self) -> Vec<u8> {
        let mut bytes = match self.form {
            Form::Module => build::plugin(&self.world, &self.text, &self.wit),
            Form::Behind => build::behind(&build::plugin(&self.world, "", ""), &self.text),
            Form::Whole => build::encoded(&self.text),
            Form::File => self.text.clone().into_bytes(),
        };
        for _ in 0..self.nest {
            bytes = build::nested(&bytes);
        }
        bytes.truncate(bytes.len().saturating_sub(self.cut));
        bytes.extend(std::iter::repeat_n(0xa5, self.tail));
        bytes
    }

    /// Whether it is no larger than what is made by hand.
    pub fn is_small(&self) -> bool {
        self.text.len() < 10_000
    }

    /// The keys of `limits` of a stage. Instructions are counted, and may be limited, only where it rejects rows.
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
            place: Place::Call,
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
        let by_place =
            if matches!(case.place, Place::Load | Place::Describe) { Rejects::Stop } else { Rejects::Poison };
        let harmless = if case.place == Place::Nowhere { Rejects::None } else { by_place };
        case.rejects = rejects.unwrap_or(harmless);
        // Only what does not end by itself must meet the time limit, however busy the machine is.
        let time = if case.says.contains("time limit") { "300ms" } else { "20s" };
        let fuel = if case.place == Place::Nowhere { "2000000000" } else { "20000000" };
        for (key, value) in [("time", format!("\"{time}\"")), ("fuel", fuel.into()), ("memory", "\"4MiB\"".into())] {
            case.limits.entry(key.into()).or_insert(value);
        }
        if case.says_with_fuel.is_empty() {
            case.says_with_fuel = case.says.clone();
        }
        assert!(!case.says.is_empty() || case.place == Place::Nowhere, "{}: it must say something", case.name);
        case.text = build::repeated(&lines.collect::<String>());
        case
    }

    fn set(&mut self, key: &str, value: &str, rejects: &mut Option<Rejects>) {
        let unknown = || -> ! { panic!("{}: what is `{key}: {value}`?", self.name) };
        match (key, value) {
            ("world", world) => self.world = world.into(),
            ("in", "load") => self.place = Place::Load,
            ("in", "describe") => self.place = Place::Describe,
            ("in", "call") => self.place = Place::Call,
            ("in", "nowhere") => self.place = Place::Nowhere,
            ("says", words) => self.says = words.into(),
            ("fuel", words) => self.says_with_fuel = words.into(),
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
            ("form", "behind") => self.form = Form::Behind,
            ("form", "whole") => self.form = Form::Whole,
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

/// All cases, by name.
pub fn cases() -> Vec<Case> {
    let dir = root().join("tests/fault");
    let files = std::fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut files: Vec<_> = files.map(|file| file.expect("the folder can be read").path()).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "wat"));
    files.sort();
    files.iter().map(|file| Case::read(file)).collect()
}

/// A well-behaved plugin of a world, as small as they get: its rows come back as they were.
pub fn good_plugin(world: &str) -> Vec<u8> {
    build::plugin(world, "", "")
}

/// A plugin of a world with these parts of its core module; see `fault/prelude`.
pub fn plugin_with(world: &str, parts: &str) -> Vec<u8> {
    build::plugin(world, parts, "")
}

/// A plugin with these parts of a component behind it.
pub fn plugin_behind(plugin: &[u8], parts: &str) -> Vec<u8> {
    build::behind(plugin, parts)
}
