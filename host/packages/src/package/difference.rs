//! Differences between a package and its replacement, for a job.
//!
//! Everything that is compared was written by the packages' authors, except world and imports, which come from the components. When a job
//! loads the plugin, it checks columns and state again by calling it.

mod columns;
mod config;

use super::facts::PackageFacts;
pub use columns::list_columns;
use millstream_base::shown::printable;
use serde_json::Value;
use std::collections::BTreeSet;

/// Maximum differences that are listed one by one.
const DIFFERENCES_MAX: usize = 50;
/// Maximum bytes of an author's text in a difference.
const MESSAGE_BYTES_MAX: usize = 1024;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The message, for example `it now requests HTTP access to api.example.com`.
    pub message: String,
    /// Whether the user must accept it: it needs more permissions, or its columns, its state or its world changed.
    pub needs_accept: bool,
}

impl Difference {
    /// A difference that the user must accept.
    fn grave(message: impl Into<String>) -> Difference {
        Difference { message: message.into(), needs_accept: true }
    }

    /// A difference that is only shown.
    fn slight(message: impl Into<String>) -> Difference {
        Difference { message: message.into(), needs_accept: false }
    }
}

/// Returns all differences between two packages.
pub fn compare(old: &PackageFacts, new: &PackageFacts) -> Vec<Difference> {
    let mut all = Vec::new();
    if old.name != new.name {
        all.push(Difference::grave(format!("it is another package: {}, not {}", shown(&new.name), shown(&old.name))));
    }
    if old.world != new.world {
        all.push(Difference::grave(format!("it is of world {}; previously of {}", new.world, old.world)));
    }
    imports(old, new, &mut all);
    grants(&old.grants, &new.grants, &mut all);
    columns::compare(old, new, &mut all);
    config::compare(&old.config_schema, &new.config_schema, &mut all);
    if old.migrates != new.migrates {
        let ability = if new.migrates { "it can take over states" } else { "it can no longer take over states" };
        all.push(Difference::slight(format!("{ability} of other versions")));
    }
    for (what, old, new) in [
        ("version of millstream:plugin", &old.interface, &new.interface),
        ("licence", &old.metadata.license, &new.metadata.license),
        ("authors", &old.metadata.authors, &new.metadata.authors),
    ] {
        if old != new {
            all.push(Difference::slight(format!("{what}: {}; previously {}", shown(new), shown(old))));
        }
    }
    if let Some(more) = all.len().checked_sub(DIFFERENCES_MAX).filter(|more| *more > 0) {
        let needs_accept = all.split_off(DIFFERENCES_MAX).iter().any(|difference| difference.needs_accept);
        all.push(Difference { message: format!("and {more} more differences"), needs_accept });
    }
    all
}

/// Adds new imports, of any version, which need to be accepted.
fn imports(old: &PackageFacts, new: &PackageFacts, all: &mut Vec<Difference>) {
    let of = |facts: &PackageFacts| -> BTreeSet<String> {
        let name = |import: &String| import.split('@').next().unwrap_or_default().to_owned();
        facts.imports.iter().map(name).collect()
    };
    let (old_imports, new_imports) = (of(old), of(new));
    let more: Vec<&String> = new_imports.difference(&old_imports).collect();
    let fewer: Vec<&String> = old_imports.difference(&new_imports).collect();
    for (names, phrases, than) in
        [(&more, &new.permissions, &old.permissions), (&fewer, &old.permissions, &new.permissions)]
    {
        let Some((first, others)) = names.split_first() else { continue };
        let list = others.iter().fold((*first).clone(), |list, name| list + ", " + name);
        let phrases: Vec<&str> = phrases.iter().filter(|message| !than.contains(message)).map(String::as_str).collect();
        let phrases = if phrases.is_empty() { String::new() } else { format!("{} ", phrases.join(", ")) };
        let list = shown(&list);
        all.push(match std::ptr::eq(names, &more) {
            true => Difference::grave(format!("it now imports {phrases}({list})")),
            false => Difference::slight(format!("it no longer imports {phrases}({list})")),
        });
    }
}

/// Adds differences of requested grants, by their dotted names down to single hosts and files.
fn grants(old: &Value, new: &Value, all: &mut Vec<Difference>) {
    let (old, new) = (flatten_grants(old), flatten_grants(new));
    let list = |names: Vec<&String>| names.into_iter().map(|name| shown(name)).collect::<Vec<_>>().join(", ");
    let (more, fewer) = (list(new.difference(&old).collect()), list(old.difference(&new).collect()));
    if !more.is_empty() {
        all.push(Difference::grave(format!("it now requests the grant {more}")));
    }
    if !fewer.is_empty() {
        all.push(Difference::slight(format!("it no longer requests the grant {fewer}")));
    }
}

/// Flattens grants to `http.hosts api.example.com`, `files lexicon`.
fn flatten_grants(grants: &Value) -> BTreeSet<String> {
    let mut wanted = BTreeSet::new();
    for (kind, value) in grants.as_object().into_iter().flatten() {
        for (name, value) in value.as_object().into_iter().flatten() {
            match value {
                Value::Array(values) => {
                    let each =
                        values.iter().map(|value| value.as_str().map_or_else(|| value.to_string(), String::from));
                    wanted.extend(each.map(|value| format!("{kind}.{name} {value}")));
                }
                // The descriptions of files and variables are for people.
                _ => {
                    wanted.insert(format!("{kind} {name}"));
                }
            }
        }
        if !value.is_object() {
            wanted.insert(format!("{kind} {value}"));
        }
    }
    wanted
}

/// Formats an author's text as one line of limited length.
fn shown(message: &str) -> String {
    match printable(message, MESSAGE_BYTES_MAX).replace('\n', " ") {
        empty if empty.is_empty() => "(none)".into(),
        message => message,
    }
}

#[cfg(test)]
mod tests;
