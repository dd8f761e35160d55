//! Checks the number of plugin instances that are kept (`instance = "worker"`), which is limited per process, before anything runs.

use super::Graph;
use crate::operators::stage::Operator;
use millstream_base::error::{Error, Result};
use millstream_base::limits::PLUGIN_INSTANCES_MAX;
use millstream_job::spec::{InstanceSpec, PluginSpec};
use millstream_plugins::plugin::LoadOptions;
use std::collections::BTreeMap;

impl Graph {
    /// Fails if stages keep more instances on the workers of a process than its limit. Code with the same metering and stack size shares a limit.
    pub fn check_instances(&self, workers: usize) -> Result<()> {
        let mut kept: BTreeMap<String, (u64, Vec<String>)> = BTreeMap::new();
        for stage in &self.stages {
            let Some(spec) = self.spec.stages.iter().find(|spec| spec.name == stage.name) else { continue };
            // One lifts rows, another one combines and lowers.
            let each = if matches!(stage.operator, Operator::Reduce(_)) { 2 } else { 1 };
            for plugin in spec.plugins().into_iter().filter(|plugin| plugin.instance == InstanceSpec::Worker) {
                let (count, names) = kept.entry(kind(plugin)).or_default();
                *count += each;
                names.push(format!("`{}`", stage.name));
            }
        }
        let max_instances = u64::from(PLUGIN_INSTANCES_MAX);
        for (each, mut names) in kept.into_values() {
            let all = each.saturating_mul(workers as u64);
            if all > max_instances {
                names.dedup();
                return Err(Error::job(format!(
                    "{} with instance = \"worker\" would keep {all} plugin instances, {each} on each of {workers} \
                     workers, but a process can hold {max_instances}; write instance = \"batch\" in some of them, \
                     or run fewer workers per process (`workers = {}`)",
                    list_names(&names),
                    max_instances / each.max(1)
                )));
            }
        }
        Ok(())
    }
}

fn kind(plugin: &PluginSpec) -> String {
    let LoadOptions { metering, stack_bytes_max, .. } = LoadOptions::new(plugin);
    format!("{metering:?} {stack_bytes_max}")
}

fn list_names(names: &[String]) -> String {
    match names {
        [only] => format!("stage {only}"),
        [first, second] => format!("stages {first} and {second}"),
        [first, rest @ ..] => format!("stages {first} and {} others", rest.len()),
        [] => "stages".into(),
    }
}
