//! A stage with a plugin of world `cogroup`, checked.

use crate::operators::plugin::node::PluginNode;
use arrow::datatypes::SchemaRef;
use millstream_base::error::{Error, Result};

/// What a stage with a plugin of world `cogroup` needs.
#[derive(Clone)]
pub struct CogroupNode {
    /// Its plugin.
    pub plugin: PluginNode,
    /// The key columns, as the first input has them.
    pub key: SchemaRef,
    /// Its inputs, in order.
    pub inputs: Vec<CogroupInput>,
}

/// One input of a stage with a plugin of world `cogroup`.
#[derive(Clone)]
pub struct CogroupInput {
    /// Its name.
    pub name: String,
    /// The columns of its rows, with the bounds of their window where they come out of one of event time.
    pub schema: SchemaRef,
    /// How many of these columns the rows came with.
    pub own_columns: usize,
    /// Places of the key columns.
    pub key: Vec<usize>,
    /// Places of the columns that the plugin reads.
    pub reads: Vec<usize>,
    /// These columns as the plugin describes them.
    pub needs: SchemaRef,
}

impl CogroupNode {
    /// The input of this number.
    pub fn input(&self, number: u32) -> Result<&CogroupInput> {
        self.inputs.get(number as usize).ok_or_else(|| Error::bug("a part of an unknown input"))
    }
}
