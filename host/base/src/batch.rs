//! Rows on their way: as received ([`chunk`]), and in the graph ([`part`]); [`slices`] bounds them.

pub mod binary_text;
pub mod cell;
pub mod chunk;
pub mod column;
pub mod encoded;
pub mod envelope;
pub mod group;
pub mod identity;
pub mod json;
pub mod key_order;
pub mod keys;
pub mod nested;
pub mod op;
pub mod parse;
pub mod part;
pub mod partition;
pub mod position;
pub mod reading;
pub mod ready;
pub mod rejected;
pub mod slices;
pub mod times;
pub mod topic;
pub mod types;
pub mod widen;
pub mod writing;
