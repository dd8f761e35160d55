//! A plugin of this part: its component, and calls of it.

use super::work::{Data, Input, Work};
use super::{Style, sources};
use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use millstream::ids::{BatchId, BatchTime};
use millstream::internals::author::language::Language;
use millstream::internals::context::CallContext;
use millstream::internals::plugin::{Caller, Costs, LoadOptions, PluginHost, StageUse};
use millstream::job::spec::{InstanceSpec, OnError, PluginSpec};
use std::path::PathBuf;
use std::sync::Arc;

/// Returns the component of a task in a language; `None` if there is no such plugin, or, with a message, if it is not built.
pub fn component(work: Work, language: Language, style: Style) -> Option<PathBuf> {
    let columns = if style == Style::Columns { "-columns" } else { "" };
    let (work, project) = (work.keyword(), format!("{}{columns}", language.keyword()));
    let dir = sources().join(work).join(&project);
    let file = dir.join(format!("{work}-{project}.wasm"));
    if dir.exists() && !file.exists() {
        println!("  {} is not built and left out: `make bench` builds it", file.display());
    }
    file.exists().then_some(file)
}

/// How a plugin is called.
#[derive(Clone, Copy, Default)]
pub struct Mode {
    /// The lifetime of its instances.
    pub instance: InstanceSpec,
    /// How errors are handled, which determines the metering.
    pub on_error: OnError,
}

/// A plugin that is called with batch after batch, as a worker does.
pub struct CalledPlugin {
    caller: Caller,
    batch: u64,
}

impl CalledPlugin {
    /// Loads a component for the data of its calls, with default limits.
    pub fn new(host: &PluginHost, component: &std::path::Path, data: &Data, mode: Mode) -> CalledPlugin {
        let spec = PluginSpec::new(component).on_error(mode.on_error);
        let plugin = host.load(component, &LoadOptions::new(&spec)).expect("the plugin loads");
        let (input, key) = match &data.input {
            Input::Rows(rows) => (rows.schema(), Arc::new(Schema::empty())),
            Input::Groups(groups) => (groups.rows.schema(), groups.keys.schema()),
        };
        let stage = StageUse { key, instance: mode.instance, on_error: mode.on_error, ..StageUse::new("bench") };
        let description = plugin.describe_for(&stage, std::slice::from_ref(&input));
        let description = description.expect("the plugin describes itself");
        assert_eq!(description.input.fields().len(), input.fields().len(), "{}", component.display());
        CalledPlugin { caller: plugin.caller(stage, &description), batch: 0 }
    }

    /// Calls it once, and returns the rows that it emits.
    pub fn call(&mut self, input: &Input) -> RecordBatch {
        self.batch += 1;
        let context = CallContext { batch: BatchId(self.batch), time: BatchTime(0), watermark: None };
        match input {
            Input::Rows(rows) => {
                let processed = self.caller.process(context, rows).expect("the plugin works");
                assert!(processed.rejections.is_empty(), "{:?}", processed.rejections.first());
                processed.rows
            }
            Input::Groups(groups) => {
                let updated = self.caller.update(context, groups).expect("the plugin works");
                assert!(updated.rejections.is_empty(), "{:?}", updated.rejections.first());
                updated.output
            }
        }
    }

    /// Returns the costs of its calls so far.
    pub fn costs(&self) -> Costs {
        self.caller.account().costs()
    }
}
