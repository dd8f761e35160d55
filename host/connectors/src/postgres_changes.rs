//! Source of changes of PostgreSQL tables, by logical replication.

pub mod declaration;
pub mod settings;
mod source;
