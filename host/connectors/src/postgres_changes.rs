//! Changes of tables of PostgreSQL, by logical replication.

pub mod declaration;
pub mod settings;
mod source;
