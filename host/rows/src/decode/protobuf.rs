//! Decodes Protobuf messages: from the fields of a descriptor to the columns of the job, by name.
//!
//! Why not a crate: a message goes directly into columns, without a value built for each field, and is rejected alone with a reason. Tests compare
//! the results with Google's own implementation.

mod definition;
mod descriptor;
mod json;
mod plan;
mod run;
mod value;
pub mod wire;

pub use definition::{Definition, DefinitionFile};
pub use descriptor::{Field, Kind, Message, Messages};
pub use plan::{TIMESTAMP, wrapped};

use super::columns::ColumnBuilders;
use crate::batch::column::ColumnSpec;
use crate::formats::ProtobufSpec;
use plan::MessagePlan;
use wire::Wire;

/// Maximum indexes of a message in a file of a registry: one for each enclosing message.
const INDEXES_MAX: u64 = 100;

/// Decodes messages into columns.
pub struct ProtobufDecoder {
    by: Result<(Messages, MessagePlan), String>,
    confluent: bool,
}

impl ProtobufDecoder {
    /// Creates a decoder for the messages and columns of a source. A wrong descriptor was reported with the job; no record matches it.
    pub fn new(spec: &ProtobufSpec, columns: &[ColumnSpec]) -> ProtobufDecoder {
        let by = Messages::parse(&spec.descriptor.content).and_then(|messages| {
            let message = messages.named(&spec.message).ok_or("the descriptor has no such message")?;
            let plan = MessagePlan::new(&messages, message, columns);
            Ok((messages, plan))
        });
        ProtobufDecoder { by, confluent: spec.confluent }
    }

    /// Decodes one record into the current row.
    pub fn decode(&self, record: &[u8], columns: &mut ColumnBuilders) -> Result<(), String> {
        let (messages, plan) = self.by.as_ref().map_err(String::clone)?;
        let body = if self.confluent { after_id(record)? } else { record };
        plan.run(messages, body, columns, 0)
    }
}

/// Returns the message after the ID of its schema and its index in it.
fn after_id(record: &[u8]) -> Result<&[u8], String> {
    let (_, body) = super::avro::wire(record)?;
    let mut wire = Wire::new(body);
    let count = wire.zigzag()?;
    let count = u64::try_from(count).ok().filter(|count| *count <= INDEXES_MAX);
    for _ in 0..count.ok_or("no message index after the id of its schema")? {
        wire.zigzag()?;
    }
    Ok(wire.rest())
}

#[cfg(test)]
mod tests;
