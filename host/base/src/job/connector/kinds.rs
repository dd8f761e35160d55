//! The kinds of sources and sinks of a program, and the keys that they may have.

use super::{Declaration, Nothing, SinkDeclaration, SourceDeclaration};
use crate::job::keys::{self, KeyShape, TableKey};
use crate::job::spec::{SinkConfig, SourceConfig, TableDeclaration, TableKind};
use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

/// The kind of sink that needs no connector.
pub const NOTHING: SinkDeclaration =
    SinkDeclaration { kind: "nothing", doc: "nowhere, for tests", keys: &[], shared: &[], read: |_| Arc::new(Nothing) };

/// A kind of source or sink.
pub enum Kind<C: ?Sized + 'static> {
    /// One of those that the language has itself.
    OfLanguage(&'static str),
    /// One that a connector declares, and that is in every build.
    General(&'static Declaration<C>),
    /// One that a connector declares, and that is not in every build.
    Declared(&'static Declaration<C>),
    /// One that is not in this build.
    Absent {
        /// The word for it in a job file.
        kind: &'static str,
        /// The feature of Cargo that it is behind.
        feature: &'static str,
    },
}

/// All kinds of sources and sinks of a program, and the keys that these may have.
pub struct Kinds {
    sources: Vec<Kind<dyn SourceConfig>>,
    sinks: Vec<Kind<dyn SinkConfig>>,
    tables: Vec<&'static TableDeclaration>,
    source_keys: Vec<TableKey>,
    sink_keys: Vec<TableKey>,
}

impl Kinds {
    /// These kinds, in the order in which messages list them. They live as long as the program, as their keys do. Of `tables` the first
    /// counts where a URL tells of none.
    pub fn new(
        sources: Vec<Kind<dyn SourceConfig>>,
        sinks: Vec<Kind<dyn SinkConfig>>,
        tables: Vec<&'static TableDeclaration>,
    ) -> Kinds {
        Kinds {
            tables,
            source_keys: keys_of(&sources, keys::SOURCE, (keys::SOURCE_KINDS, keys::SOURCE_KIND_DOC)),
            sink_keys: keys_of(&sinks, keys::SINK, (keys::SINK_KINDS, keys::SINK_KIND_DOC)),
            sources,
            sinks,
        }
    }

    /// The kinds that need no connector.
    pub fn of_language() -> &'static Kinds {
        static KINDS: LazyLock<Kinds> = LazyLock::new(|| {
            let sources = keys::SOURCE_KINDS.iter().map(|(kind, _)| Kind::OfLanguage(kind));
            let sinks = keys::SINK_KINDS.iter().map(|(kind, _)| Kind::OfLanguage(kind));
            let sinks = sinks.chain([Kind::Declared(&NOTHING)]);
            Kinds::new(sources.collect(), sinks.collect(), Vec::new())
        });
        &KINDS
    }

    /// The words for sources.
    pub fn of_sources(&self) -> Vec<&'static str> {
        self.sources.iter().map(word).collect()
    }

    /// The words for sinks.
    pub fn of_sinks(&self) -> Vec<&'static str> {
        self.sinks.iter().map(word).collect()
    }

    /// The declaration of a kind of source; `None`: the language has it.
    pub(in crate::job) fn source(&self, kind: &str) -> Option<&'static SourceDeclaration> {
        declared(&self.sources, kind)
    }

    /// The declaration of a kind of sink; `None`: the language has it.
    pub(in crate::job) fn sink(&self, kind: &str) -> Option<&'static SinkDeclaration> {
        declared(&self.sinks, kind)
    }

    /// The kind of database that a URL is of; `None`: there are none.
    pub(in crate::job) fn table(&self, url: &str) -> Option<TableKind> {
        let of = |kind: &&&TableDeclaration| kind.schemes.iter().any(|scheme| url.starts_with(scheme));
        self.tables.iter().find(of).or(self.tables.first()).map(|kind| TableKind(kind))
    }

    /// The feature that a build with this kind of source has, where this one does without it.
    pub(in crate::job) fn absent_source(&self, kind: &str) -> Option<&'static str> {
        absent(&self.sources, kind)
    }

    /// The feature that a build with this kind of sink has, where this one does without it.
    pub(in crate::job) fn absent_sink(&self, kind: &str) -> Option<&'static str> {
        absent(&self.sinks, kind)
    }

    /// The keys of all sources.
    pub(in crate::job) fn source_keys(&self) -> &[TableKey] {
        &self.source_keys
    }

    /// The keys of all sinks.
    pub(in crate::job) fn sink_keys(&self) -> &[TableKey] {
        &self.sink_keys
    }

    /// The names of the keys that a source, stage, sink or `[checkpoint]` may have.
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

/// The keys of all these kinds: those of the language, of which a kind that is declared has what it shares, and then its own.
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
    // An editor marks what this build does not know.
    let built = || kinds.iter().filter(|kind| !matches!(kind, Kind::Absent { .. }));
    let words: Vec<&'static str> = built().map(word).collect();
    let docs: Vec<String> = built().map(|kind| format!("{} (`{}`)", doc_of(kind), word(kind))).collect();
    let mut seen = BTreeSet::new();
    let all = |key: &TableKey| {
        let mut key = *key;
        let needed_by_all = !key.kinds.is_empty() && key.kinds.len() == key.needed.len();
        // A kind of the language may have a key of a name that means something else; it comes behind the one that is shared.
        let is_first = seen.insert(key.name);
        if key.name == "kind" {
            key.shape = KeyShape::Word(words.clone().leak());
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
            // Whoever shares it needs it as well.
            key.needed = if needed_by_all { key.kinds } else { key.needed };
            // One that nobody has is none.
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
    let others = kinds.iter().filter_map(|kind| match kind {
        Kind::Declared(declaration) => Some(declaration),
        _ => None,
    });
    let own = general.chain(others).flat_map(|declaration| {
        let kinds: &'static [&'static str] = vec![declaration.kind].leak();
        declaration.keys.iter().map(move |key| TableKey {
            kinds,
            needed: if key.needed.is_empty() { &[] } else { kinds },
            ..*key
        })
    });
    of_language.iter().filter_map(all).chain(own).collect()
}
