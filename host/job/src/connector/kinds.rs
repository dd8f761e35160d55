//! The kinds of sources and sinks of a program, and their keys.

use super::declaration::{Declaration, SinkDeclaration, SourceDeclaration};
use super::nothing::Nothing;
use crate::keys::{self, KeyShape, TableKey, key};
use crate::spec::{SinkKind, SourceKind, SourceSpec, TableDeclaration, TableKind};

/// The kind of sink that needs no connector.
pub const NOTHING: SinkDeclaration =
    SinkDeclaration { kind: "nothing", doc: "nowhere, for tests", keys: &[], shared: &[], read: |_| Nothing.into() };

/// A kind of source or sink.
pub enum Kind<K: 'static> {
    /// A kind with this declaration.
    Declared(&'static Declaration<K>),
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
    sources: Vec<Kind<SourceKind>>,
    sinks: Vec<Kind<SinkKind>>,
    tables: Vec<&'static TableDeclaration>,
    source_keys: Vec<TableKey>,
    sink_keys: Vec<TableKey>,
}

impl Kinds {
    /// Creates the list, in the order for messages. Kinds and keys live as long as the program. If a URL does not identify one of `tables`, the
    /// first is used.
    pub fn new(
        sources: Vec<Kind<SourceKind>>,
        sinks: Vec<Kind<SinkKind>>,
        tables: Vec<&'static TableDeclaration>,
    ) -> Kinds {
        Kinds {
            retry: None,
            tables,
            source_keys: keys_of(&sources, &[], keys::SOURCE_KIND_DOC),
            sink_keys: keys_of(&sinks, &[keys::FROM], keys::SINK_KIND_DOC),
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

    /// Returns the declaration of a kind of source; `None` if this build lacks it.
    pub(crate) fn source(&self, kind: &str) -> Option<&'static SourceDeclaration> {
        declared(&self.sources, kind)
    }

    /// Returns the declaration of a kind of sink; `None` if this build lacks it.
    pub(crate) fn sink(&self, kind: &str) -> Option<&'static SinkDeclaration> {
        declared(&self.sinks, kind)
    }

    /// Returns the kind of database of a URL; `None` if there are none.
    pub(crate) fn table(&self, url: &str) -> Option<TableKind> {
        let of = |kind: &&&TableDeclaration| kind.schemes.iter().any(|scheme| url.starts_with(scheme));
        self.tables.iter().find(of).or(self.tables.first()).map(|kind| TableKind(kind))
    }

    /// Returns the Cargo feature for this kind of source, if this build lacks it.
    pub(crate) fn absent_source(&self, kind: &str) -> Option<&'static str> {
        absent(&self.sources, kind)
    }

    /// Returns the Cargo feature for this kind of sink, if this build lacks it.
    pub(crate) fn absent_sink(&self, kind: &str) -> Option<&'static str> {
        absent(&self.sinks, kind)
    }

    /// Returns the keys of all sources.
    pub(crate) fn source_keys(&self) -> &[TableKey] {
        &self.source_keys
    }

    /// Returns the keys of all sinks.
    pub(crate) fn sink_keys(&self) -> &[TableKey] {
        &self.sink_keys
    }
}

fn word<K>(kind: &Kind<K>) -> &'static str {
    match kind {
        Kind::Declared(declaration) => declaration.kind,
        Kind::Absent { kind, .. } => kind,
    }
}

fn declaration<K>(kind: &Kind<K>) -> Option<&'static Declaration<K>> {
    match kind {
        Kind::Declared(declaration) => Some(declaration),
        Kind::Absent { .. } => None,
    }
}

fn declared<K>(kinds: &[Kind<K>], word: &str) -> Option<&'static Declaration<K>> {
    kinds.iter().filter_map(declaration).find(|declaration| declaration.kind == word)
}

fn absent<K>(kinds: &[Kind<K>], word: &str) -> Option<&'static str> {
    kinds.iter().find_map(|of| match of {
        Kind::Absent { kind, feature } if *kind == word => Some(*feature),
        _ => None,
    })
}

/// Returns the keys of all these kinds: those of every kind, and then those of each kind in this build. An editor marks what this build lacks.
fn keys_of<K>(kinds: &[Kind<K>], of_all: &[TableKey], doc: &str) -> Vec<TableKey> {
    let built = || kinds.iter().filter_map(declaration);
    let names: Vec<&'static str> = built().map(|declaration| declaration.kind).collect();
    let docs: Vec<String> =
        built().map(|declaration| format!("{} (`{}`)", declaration.doc, declaration.kind)).collect();
    let doc = format!("{doc}: {}.", docs.join(", "));
    let kind = key("kind", KeyShape::Word(names.leak()), doc.leak()).required();
    let own = built().flat_map(|declaration| {
        let shared = declaration.shared.iter().copied().flatten();
        let shared = shared.filter(move |key| declaration.keys.iter().all(|own| own.name != key.name));
        shared.chain(declaration.keys).map(move |key| TableKey { kind: Some(declaration.kind), ..*key })
    });
    of_all.iter().copied().chain([kind]).chain(own).collect()
}
