//! A stage with a `cogroup` plugin, checked.

use crate::operators::plugin::node::PluginNode;
use arrow::datatypes::SchemaRef;
use millstream_base::error::{Error, Result};

/// A checked stage with a `cogroup` plugin.
#[derive(Clone)]
pub struct CogroupNode {
    /// Its plugin.
    pub plugin: PluginNode,
    /// The key columns, with the types of the first input.
    pub key: SchemaRef,
    /// Its inputs, in order.
    pub inputs: Vec<CogroupInput>,
}

/// One input of a stage with a `cogroup` plugin.
#[derive(Clone)]
pub struct CogroupInput {
    /// Its name.
    pub name: String,
    /// The columns of its rows, with the window bounds if they come from a window of event time.
    pub schema: SchemaRef,
    /// Number of these columns without the window bounds.
    pub own_columns: usize,
    /// Indexes of the key columns.
    pub key: Vec<usize>,
    /// Indexes of the columns that the plugin reads.
    pub reads: Vec<usize>,
    /// These columns, as declared by the plugin.
    pub needs: SchemaRef,
}

impl CogroupNode {
    /// Returns the input with this number.
    pub fn input(&self, number: u32) -> Result<&CogroupInput> {
        self.inputs.get(number as usize).ok_or_else(|| Error::bug("a part of an unknown input"))
    }
}
