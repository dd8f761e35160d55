//! What a plugin is offered, by the names of its imports.

use crate::limits::PLUGIN_MESSAGE_BYTES_MAX;
use crate::plugin::load_options::LoadOptions;
use crate::plugin::releases::{NET, OFFERED, TIMERS, VERSION, needs_other, parse_interface, release};
use crate::plugin::world::World;
use millstream_base::shown::printable;
use std::fmt::Write as _;

/// The harmless part of WASI 0.2, by package. Its implementation is virtual: clocks show the batch time, random numbers are seeded, output
/// goes to the log, and there is no directory to open.
const WASI: [(&str, &[&str]); 5] = [
    (
        "cli",
        &[
            "environment",
            "exit",
            "stdin",
            "stdout",
            "stderr",
            "terminal-input",
            "terminal-output",
            "terminal-stdin",
            "terminal-stdout",
            "terminal-stderr",
        ],
    ),
    ("clocks", &["monotonic-clock", "wall-clock"]),
    ("random", &["random", "insecure", "insecure-seed"]),
    ("io", &["error", "poll", "streams"]),
    ("filesystem", &["types", "preopens"]),
];

/// Requests over HTTP, which need a grant.
const HTTP: (&str, &[&str]) = ("http", &["types", "outgoing-handler"]);

/// The versions of WASI that this host has.
const WASI_SERIES: &str = "0.2.";

/// Why an import is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportRefusal {
    /// It needs a grant of HTTP.
    NeedsHttp,
    /// It belongs to a version of our interface that this host does not support.
    NewerInterface,
    /// It is offered in world `update` only.
    ForUpdate(World),
    /// It is offered in worlds `source` and `sink` only.
    ForEnds(World),
    /// It is never offered.
    NotOffered,
}

/// Returns whether a plugin of this world may have an import. The world is unknown if the plugin exports none of ours.
pub fn check_import(name: &str, world: Option<World>, options: &LoadOptions) -> Result<(), ImportRefusal> {
    if let Some((interface, version)) = parse_interface(name) {
        return match (release(version), world) {
            (None, _) => Err(ImportRefusal::NewerInterface),
            (Some(_), Some(world)) if interface == TIMERS && world != World::Update => {
                Err(ImportRefusal::ForUpdate(world))
            }
            (Some(_), Some(world)) if interface == NET && !world.is_end() => Err(ImportRefusal::ForEnds(world)),
            (Some(release), _) if release.imports.contains(&interface) => Ok(()),
            (Some(_), _) => Err(ImportRefusal::NotOffered),
        };
    }
    let Some((package, interface)) = wasi(name) else { return Err(ImportRefusal::NotOffered) };
    let has = |(of, interfaces): &(&str, &[&str])| *of == package && interfaces.contains(&interface);
    match (WASI.iter().any(has), has(&HTTP), options.http) {
        (true, ..) | (_, true, true) => Ok(()),
        (_, true, false) => Err(ImportRefusal::NeedsHttp),
        (_, false, _) => Err(ImportRefusal::NotOffered),
    }
}

/// Checks all imports. The error continues after the plugin's name, and says what to do.
pub fn check(imports: &[String], world: Option<World>, options: &LoadOptions) -> Result<(), String> {
    let rejected = imports.iter().filter_map(|name| Some((name.as_str(), check_import(name, world, options).err()?)));
    let rejected: Vec<(&str, ImportRefusal)> = rejected.collect();
    if rejected.is_empty() { Ok(()) } else { Err(message(&rejected)) }
}

fn message(rejected: &[(&str, ImportRefusal)]) -> String {
    let of = |wanted: fn(&ImportRefusal) -> bool| {
        let names: Vec<&str> = rejected.iter().filter(|(_, why)| wanted(why)).map(|(name, _)| *name).collect();
        (!names.is_empty()).then(|| printable(&names.join(", "), PLUGIN_MESSAGE_BYTES_MAX))
    };
    if let Some((name, _)) = rejected.iter().find(|(_, why)| *why == ImportRefusal::NewerInterface) {
        return needs_other(parse_interface(name).map_or("?", |(_, version)| version));
    }
    let mut all = Vec::new();
    if let Some(http) = of(|why| *why == ImportRefusal::NeedsHttp) {
        all.push(format!(
            "imports {http}, which needs a grant: HTTP requests\n  To allow them, add to the stage: `grant = {{ \
             http = {{ hosts = [\"api.example.com\"] }} }}` and `replayable = false`."
        ));
    }
    if let Some((_, ImportRefusal::ForUpdate(world))) =
        rejected.iter().find(|(_, why)| matches!(why, ImportRefusal::ForUpdate(_)))
    {
        all.push(format!("imports timers, which only world update supports; it is of world {world}"));
    }
    if let Some((_, ImportRefusal::ForEnds(world))) =
        rejected.iter().find(|(_, why)| matches!(why, ImportRefusal::ForEnds(_)))
    {
        all.push(format!("imports net, which only worlds source and sink support; it is of world {world}"));
    }
    if let Some(none) = of(|why| *why == ImportRefusal::NotOffered) {
        let mut text = format!("imports interfaces that the host does not have: {none}\n  Available: {}", list());
        if none.contains("wasi:") {
            text.push_str(
                "\n  `wasi:` imports come from the toolchain; `millstream build` makes a component without them.",
            );
        }
        all.push(text);
    }
    all.join("\n  It also ")
}

/// Lists all offered imports.
fn list() -> String {
    let mut list = format!("{} of millstream:plugin@{VERSION}", OFFERED.join(", "));
    for (package, interfaces) in WASI {
        let _ = write!(list, "; wasi:{package}/{{{}}}", interfaces.join(","));
    }
    list + " of WASI 0.2; wasi:http with a grant."
}

/// Describes the permissions that imports request, one phrase per kind of import.
pub fn requested_permissions(imports: &[String]) -> Vec<&'static str> {
    /// A phrase, and the imports that it covers.
    type Kind = (&'static str, fn(&str) -> bool);
    let kinds: [Kind; 12] = [
        ("the log", |name| is_ours(name, "log")),
        ("counters", |name| is_ours(name, "metrics")),
        ("granted files", |name| is_ours(name, "files")),
        ("the columns of its stage", |name| is_ours(name, "stage")),
        ("timers", |name| is_ours(name, TIMERS)),
        ("connections (need a grant)", |name| is_ours(name, NET)),
        ("clocks (virtual)", |name| name.starts_with("wasi:clocks/")),
        ("random numbers (seeded)", |name| name.starts_with("wasi:random/")),
        ("granted environment variables", |name| name.starts_with("wasi:cli/environment@")),
        ("standard output (the log)", |name| {
            ["wasi:cli/stdout@", "wasi:cli/stderr@"].iter().any(|start| name.starts_with(start))
        }),
        ("files and directories (none)", |name| name.starts_with("wasi:filesystem/")),
        ("HTTP requests (need a grant)", |name| name.starts_with("wasi:http/")),
    ];
    let requested = kinds.into_iter().filter(|(_, is)| imports.iter().any(|name| is(name)));
    requested.map(|(phrase, _)| phrase).collect()
}

fn is_ours(name: &str, interface: &str) -> bool {
    parse_interface(name).is_some_and(|(own, _)| own == interface)
}

/// Splits package and interface of WASI 0.2: `wasi:io/poll@0.2.3` is `io` and `poll`.
fn wasi(name: &str) -> Option<(&str, &str)> {
    let (path, version) = name.strip_prefix("wasi:")?.split_once('@')?;
    version.strip_prefix(WASI_SERIES)?.parse::<u32>().ok()?;
    path.split_once('/')
}
