//! Tests of the plugin host.
