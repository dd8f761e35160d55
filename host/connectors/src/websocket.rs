//! The `websocket` sink: sends rows to all connected clients.

pub mod declaration;
pub mod settings;
mod sink;
