//! What a connector declares about a kind of source or sink.

use crate::keys::TableKey;
use crate::spec::{SinkKind, SourceKind};
use crate::table::Reader;

/// A kind of source or sink, as its connector declares it. `K` is what its keys become.
pub struct Declaration<K: 'static> {
    /// Name of the kind in a job file.
    pub kind: &'static str,
    /// Where its records come from, or where rows go, for the description of the key `kind`.
    pub doc: &'static str,
    /// The kind's own keys. Another kind's key of the same name may have another meaning.
    pub keys: &'static [TableKey],
    /// The keys that it shares with other kinds, unless it has its own key of the same name.
    pub shared: &'static [&'static [TableKey]],
    /// Reads the kind's keys. Errors are recorded, and such keys are treated as absent.
    pub read: fn(&Reader<'_>) -> K,
}

/// A kind of source.
pub type SourceDeclaration = Declaration<SourceKind>;
/// A kind of sink.
pub type SinkDeclaration = Declaration<SinkKind>;
