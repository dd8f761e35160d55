//! What a plugin says of itself, and how its columns cross the boundary.

use arrow::datatypes::{Schema, SchemaRef};
use millstream_rows::batch::nested;
use std::sync::Arc;

/// A plugin's description for a config and an input; see `description` in `wit/types.wit`. In world `cogroup`, `input` is the first of
/// `inputs`; in others it is the only one.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Description {
    pub name: String,
    pub version: String,
    pub doc: String,
    pub input: SchemaRef,
    pub inputs: Vec<SchemaRef>,
    pub output: SchemaRef,
    pub state: SchemaRef,
    pub key: Option<SchemaRef>,
    /// Which of these columns are written out.
    pub written: Arc<WrittenColumns>,
    pub inverse: bool,
    /// World `sink`: whether it reports the last batch that it committed.
    pub exactly_once: bool,
    pub config_schema: String,
}

/// The columns of a plugin that are written out.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct WrittenColumns {
    /// For each input.
    pub inputs: Vec<WrittenOut>,
    /// For the rows that it returns.
    pub output: WrittenOut,
    /// For states or accumulators.
    pub state: WrittenOut,
    /// For keys, if it declares them; otherwise see [`WrittenOut::of_named`].
    pub key: WrittenOut,
}

/// The columns that are passed as text, in the form used in files. The plugin describes them by the type's name in job files (`date`,
/// `decimal(12,2)`, `list<int64>`), not by Arrow's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WrittenOut(pub Vec<bool>);

impl WrittenOut {
    /// For columns that a plugin does not describe, such as those of any key: the plugin receives their types by these names.
    pub fn of_named(schema: &Schema) -> WrittenOut {
        WrittenOut(schema.fields().iter().map(|field| nested::name_of(field.data_type()).is_some()).collect())
    }

    /// Whether the column at this index is passed as text.
    pub fn has(&self, index: usize) -> bool {
        self.0.get(index).copied().unwrap_or(false)
    }
}
