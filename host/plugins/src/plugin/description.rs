//! What a plugin says of itself, and how its columns cross the boundary.

use arrow::datatypes::{Schema, SchemaRef};
use millstream_base::batch::nested;
use std::sync::Arc;

/// What a plugin says of itself for a config and an input; see `description` in `wit/types.wit`. In world `cogroup` `input`
/// is the first of `inputs`; in others it is the only one.
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
    /// World `sink`: whether it knows which batch was the last one that it committed.
    pub exactly_once: bool,
    pub config_schema: String,
}

/// The columns of a plugin that are written out.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct WrittenColumns {
    /// Of each input.
    pub inputs: Vec<WrittenOut>,
    /// Of the rows that it returns.
    pub output: WrittenOut,
    /// Of states or accumulators.
    pub state: WrittenOut,
    /// Of keys, where it says which it takes; else see [`WrittenOut::of_named`].
    pub key: WrittenOut,
}

/// Which columns of a schema cross the boundary written out: as text, as files hold them. They are those that the plugin describes
/// by the name that job files have for the type (`date`, `decimal(12,2)`, `list<int64>`), not by Arrow's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WrittenOut(pub Vec<bool>);

impl WrittenOut {
    /// Of columns that a plugin does not describe, as those of any key: it is told of their types by these names.
    pub fn of_named(schema: &Schema) -> WrittenOut {
        WrittenOut(schema.fields().iter().map(|field| nested::name_of(field.data_type()).is_some()).collect())
    }

    /// Whether the column at this place is.
    pub fn has(&self, place: usize) -> bool {
        self.0.get(place).copied().unwrap_or(false)
    }
}
