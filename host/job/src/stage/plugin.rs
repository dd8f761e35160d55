//! The plugin of a stage, source or sink, or of a function of `sql`: its keys, how they are read and checked, and how a program sets them.

mod build;
pub(crate) mod check;
pub(crate) mod keys;
pub(crate) mod read;

use crate::spec::{OperatorSpec, PluginSpec, StageSpec};

impl StageSpec {
    /// Runs a plugin; a path is enough if no option is set.
    pub fn plugin<S: Into<String>>(
        name: impl Into<String>,
        from: impl IntoIterator<Item = S>,
        plugin: impl Into<PluginSpec>,
    ) -> StageSpec {
        StageSpec::new(name, from, OperatorSpec::Plugin(plugin.into()))
    }
}
