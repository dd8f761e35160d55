//! Protobuf messages: from the fields that a descriptor names to the columns of the job, by name.
//!
//! Why not a crate: a message goes straight into columns, without a value built for each field, and is refused by itself with
//! a reason. Tests hold it against Google's own implementation.

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
use crate::job::spec::{ColumnSpec, ProtobufSpec};
use plan::MessagePlan;
use wire::Wire;

/// Places of a message in a file of a registry: one for each message around it.
const INDEXES_MAX: u64 = 100;

/// Decodes messages into columns.
pub struct ProtobufDecoder {
    by: Result<(Messages, MessagePlan), String>,
    confluent: bool,
}

impl ProtobufDecoder {
    /// A decoder for the messages and columns of a source. What is wrong with the descriptor was said with the job; no
    /// record is of it.
    pub fn new(spec: &ProtobufSpec, columns: &[ColumnSpec]) -> ProtobufDecoder {
        let by = Messages::parse(&spec.descriptor.content).and_then(|messages| {
            let message = messages.named(&spec.message).ok_or("the descriptor has no such message")?;
            let plan = MessagePlan::of(&messages, message, columns);
            Ok((messages, plan))
        });
        ProtobufDecoder { by, confluent: spec.confluent }
    }

    /// Decodes one record into the row at hand.
    pub fn decode(&self, record: &[u8], columns: &mut ColumnBuilders) -> Result<(), String> {
        let (messages, plan) = self.by.as_ref().map_err(String::clone)?;
        let body = if self.confluent { behind_id(record)? } else { record };
        plan.run(messages, body, columns, 0)
    }
}

/// The message behind the id of a schema and its place in it.
fn behind_id(record: &[u8]) -> Result<&[u8], String> {
    let (_, body) = super::avro::wire(record)?;
    let mut wire = Wire::new(body);
    let count = wire.zigzag()?;
    let count = u64::try_from(count).ok().filter(|count| *count <= INDEXES_MAX);
    for _ in 0..count.ok_or("no place of a message behind the id of its schema")? {
        wire.zigzag()?;
    }
    Ok(wire.rest())
}

#[cfg(test)]
mod tests;
