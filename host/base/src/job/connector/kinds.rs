//! The kinds of sources and sinks of a program, and their keys.

use super::{Declaration, Nothing, SinkDeclaration, SourceDeclaration};
use crate::job::keys::{self, KeyShape, TableKey};
use crate::job::spec::{SinkConfig, SourceConfig, SourceSpec, TableDeclaration, TableKind};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The kind of sink that needs no connector.
pub const NOTHING: SinkDeclaration =
    SinkDeclaration { kind: "nothing", doc: "nowhere, for tests", keys: &[], shared: &[], read: |_| Arc::new(Nothing) };

/// A kind of source or sink.
pub enum Kind<C: ?Sized + 'static> {
    /// A kind of the language itself.
    OfLanguage(&'static str),
    /// A kind declared by a connector and included in every build.
    General(&'static Declaration<C>),
    /// A kind declared by a connector and not included in every build.
    Declared(&'static Declaration<C>),
    /// A kind that this build lacks.
    Absent {
        /// Name of the kind in a job file.
        kind: &'static str,
        /// The Cargo feature that includes it.
        feature: &'static str,
    },
}

/// Returns the source of the rows that `millstream retry` gives back to a stage: for a job, its stage, and the input if the stage has several.
pub type RetrySource = fn(&str, &str, Option<&str>) -> SourceSpec;

/// All kinds of sources and sinks of a program, and their keys.
pub struct Kinds {
    retry: Option<RetrySource>,
    sources: Vec<Kind<dyn SourceConfig>>,
    sinks: Vec<Kind<dyn SinkConfig>>,
    tables: Vec<&'static TableDeclaration>,
    source_keys: Vec<TableKey>,
    sink_keys: Vec<TableKey>,
}

impl Kinds {
    /// Creates the list, in the order for messages. Kinds and keys live as long as the program. If a URL does not identify one of `tables`, the
    /// first is used.
    pub fn new(
        sources: Vec<Kind<dyn SourceConfig>>,
        sinks: Vec<Kind<dyn SinkConfig>>,
        tables: Vec<&'static TableDeclaration>,
    ) -> Kinds {
        Kinds {
            retry: None,
            tables,
            source_keys: keys_of(&sources, keys::SOURCE, (keys::SOURCE_KINDS, keys::SOURCE_KIND_DOC)),
            sink_keys: keys_of(&sinks, keys::SINK, (keys::SINK_KINDS, keys::SINK_KIND_DOC)),
            sources,
            sinks,
        }
    }

    /// Lets stages process rejected rows again.
    pub fn with_retry(self, retry: RetrySource) -> Kinds {
        Kinds { retry: Some(retry), ..self }
    }

    /// Returns the source of retried rows of a stage; `None` if the program has none.
    pub fn retry_source(&self, job: &str, stage: &str, input: Option<&str>) -> Option<SourceSpec> {
        self.retry.map(|source| source(job, stage, input))
    }

    /// Returns the names of sources.
    pub fn of_sources(&self) -> Vec<&'static str> {
        self.sources.iter().map(word).collect()
    }

    /// Returns the names of sinks.
    pub fn of_sinks(&self) -> Vec<&'static str> {
        self.sinks.iter().map(word).collect()
    }

    /// Returns the declaration of a kind of source; `None` if it is one of the language.
    pub(in crate::job) fn source(&self, kind: &str) -> Option<&'static SourceDeclaration> {
        declared(&self.sources, kind)
    }

    /// Returns the declaration of a kind of sink; `None` if it is one of the language.
    pub(in crate::job) fn sink(&self, kind: &str) -> Option<&'static SinkDeclaration> {
        declared(&self.sinks, kind)
    }

    /// Returns the kind of database of a URL; `None` if there are none.
    pub(in crate::job) fn table(&self, url: &str) -> Option<TableKind> {
        let of = |kind: &&&TableDeclaration| kind.schemes.iter().any(|scheme| url.starts_with(scheme));
        self.tables.iter().find(of).or(self.tables.first()).map(|kind| TableKind(kind))
    }

    /// Returns the Cargo feature for this kind of source, if this build lacks it.
    pub(in crate::job) fn absent_source(&self, kind: &str) -> Option<&'static str> {
        absent(&self.sources, kind)
    }

    /// Returns the Cargo feature for this kind of sink, if this build lacks it.
    pub(in crate::job) fn absent_sink(&self, kind: &str) -> Option<&'static str> {
        absent(&self.sinks, kind)
    }

    /// Returns the keys of all sources.
    pub(in crate::job) fn source_keys(&self) -> &[TableKey] {
        &self.source_keys
    }

    /// Returns the keys of all sinks.
    pub(in crate::job) fn sink_keys(&self) -> &[TableKey] {
        &self.sink_keys
    }

    /// Returns the names of the possible keys of a source, stage, sink or `[checkpoint]`.
    pub(in crate::job) fn names(&self) -> BTreeSet<&'static str> {
        let all = [&*self.source_keys, keys::STAGE, &*self.sink_keys, keys::CHECKPOINT];
        all.iter().flat_map(|keys| keys.iter().map(|key| key.name)).collect()
    }
}

fn word<C: ?Sized>(kind: &Kind<C>) -> &'static str {
    match kind {
        Kind::OfLanguage(word) => word,
        Kind::General(declaration) | Kind::Declared(declaration) => declaration.kind,
        Kind::Absent { kind, .. } => kind,
    }
}

fn declared<C: ?Sized>(kinds: &[Kind<C>], word: &str) -> Option<&'static Declaration<C>> {
    kinds.iter().find_map(|kind| match kind {
        Kind::General(declaration) | Kind::Declared(declaration) if declaration.kind == word => Some(*declaration),
        _ => None,
    })
}

fn absent<C: ?Sized>(kinds: &[Kind<C>], word: &str) -> Option<&'static str> {
    kinds.iter().find_map(|of| match of {
        Kind::Absent { kind, feature } if *kind == word => Some(*feature),
        _ => None,
    })
}

/// Returns the keys of all these kinds: those of the language, with the kinds that share them, and then those of each declared kind.
fn keys_of<C: ?Sized>(
    kinds: &[Kind<C>],
    of_language: &[TableKey],
    (docs, doc): (&[(&'static str, &'static str)], &str),
) -> Vec<TableKey> {
    let doc_of = |kind: &Kind<C>| match kind {
        Kind::OfLanguage(word) => docs.iter().find(|(of, _)| of == word).map_or("", |(_, doc)| *doc),
        Kind::General(declaration) | Kind::Declared(declaration) => declaration.doc,
        Kind::Absent { .. } => "",
    };
    // An editor marks what this build lacks.
    let built = || kinds.iter().filter(|kind| !matches!(kind, Kind::Absent { .. }));
    let names_of_kinds: Vec<&'static str> = built().map(word).collect();
    let docs: Vec<String> = built().map(|kind| format!("{} (`{}`)", doc_of(kind), word(kind))).collect();
    let mut seen = BTreeSet::new();
    let all = |key: &TableKey| {
        let mut key = *key;
        let needed_by_all = !key.kinds.is_empty() && key.kinds == key.needed;
        // A kind of the language may have a key of the same name with another meaning; it comes after the shared one.
        let is_first = seen.insert(key.name);
        if key.name == "kind" {
            key.shape = KeyShape::Word(names_of_kinds.clone().leak());
            key.doc = format!("{doc}: {}.", docs.join(", ")).leak();
        } else if is_first && !key.kinds.is_empty() {
            let shares = |kind: &Kind<C>| match kind {
                Kind::OfLanguage(word) => key.kinds.contains(word),
                Kind::General(declaration) | Kind::Declared(declaration) => {
                    declaration.shared.iter().any(|names| names.contains(&key.name))
                }
                Kind::Absent { .. } => false,
            };
            key.kinds = kinds.iter().filter(|kind| shares(kind)).map(word).collect::<Vec<_>>().leak();
            // All kinds that share it need it as well.
            key.needed = if needed_by_all { key.kinds } else { key.needed };
            // A key without kinds is not listed.
            if key.kinds.is_empty() {
                return None;
            }
        }
        Some(key)
    };
    // Messages name those first that are in every build.
    let general = kinds.iter().filter_map(|kind| match kind {
        Kind::General(declaration) => Some(declaration),
        _ => None,
    });
    let special = kinds.iter().filter_map(|kind| match kind {
        Kind::Declared(declaration) => Some(declaration),
        _ => None,
    });
    let own = general.chain(special).flat_map(|declaration| {
        let kinds: &'static [&'static str] = vec![declaration.kind].leak();
        declaration.keys.iter().map(move |key| TableKey {
            kinds,
            needed: if key.needed.is_empty() { &[] } else { kinds },
            ..*key
        })
    });
    of_language.iter().filter_map(all).chain(own).collect()
}
