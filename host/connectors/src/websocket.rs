//! Sink `websocket`: whoever connects hears of rows.

pub mod declaration;
pub mod settings;
mod sink;
