//! Tests of the plugin host. Guests are assembled by hand, so that they can misbehave and need no toolchain.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod calls;
mod columns;
mod hand;
mod limits;
mod loading;

use super::{PluginHost, VERSION};
