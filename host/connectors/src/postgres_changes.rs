//! Changes of tables of PostgreSQL, by logical replication.

pub mod declaration;
mod source;
