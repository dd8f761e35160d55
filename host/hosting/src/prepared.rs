//! A plugin that was described for tables of some columns, and callers that are ready for them.

use super::fitting::{ColumnSelection, plugin_columns};
use super::settings::ConfiguredPlugin;
use arrow::datatypes::{Schema, SchemaRef};
use millstream_base::error::{Error, Result};
use millstream_job::spec::OnError;
use millstream_plugins::plugin::{Caller, Costs, Description, World};
use millstream_rows::batch::rejected::{RejectedRows, RejectionOrigin};
use millstream_rows::batch::types;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A plugin prepared for tables of these columns.
pub struct PreparedTables {
    /// The input columns of each table.
    pub tables: Vec<SchemaRef>,
    /// The plugin's description of itself.
    pub description: Description,
    /// For each table the columns that the plugin reads.
    pub reads: Vec<ColumnSelection>,
    /// The columns in the description.
    pub needs: Vec<SchemaRef>,
    /// For each table the key columns.
    pub keys: Vec<ColumnSelection>,
    /// Handles rejected rows.
    pub rejected: RejectedRows,
    /// The names of the key columns.
    key: Vec<String>,
    callers: Mutex<Callers>,
}

/// Idle callers, and the cost of others.
#[derive(Default)]
struct Callers {
    idle: Vec<Caller>,
    past_costs: Costs,
}

impl PreparedTables {
    /// Requests the plugin's description.
    pub fn new(ready: &ConfiguredPlugin, tables: Vec<SchemaRef>, key: Vec<String>) -> Result<PreparedTables> {
        let ConfiguredPlugin { plugin, used, .. } = ready;
        let keys = tables.iter().map(|table| ColumnSelection::named(&key, table)).collect::<Result<Vec<_>>>()?;
        let key_schema = keys.first().map_or_else(|| Arc::new(Schema::empty()), |keys| keys.schema().clone());
        if let Some(other) = keys.iter().find(|keys| kinds(keys.schema()) != kinds(&key_schema)) {
            return Err(Error::job(format!(
                "the key is {} in the first table and {} in another one; give both the same types",
                types::describe(&key_schema),
                types::describe(other.schema())
            )));
        }
        let mut used = used.clone();
        used.key = key_schema.clone();
        let plugin_columns: Vec<SchemaRef> = tables.iter().map(|table| plugin_columns(table)).collect();
        let description = plugin.describe_for(&used, &plugin_columns)?;
        let plugin_name = format!("plugin {} {}", description.name, description.version);
        if let Some(wanted) = description.key.as_deref().filter(|wanted| kinds(wanted) != kinds(&key_schema)) {
            return Err(Error::job(format!(
                "{plugin_name} needs a key of {}, but the call's key is {}; correct `key`",
                types::describe(wanted),
                types::describe(&key_schema)
            )));
        }
        let needs = match plugin.world() {
            World::Cogroup => description.inputs.clone(),
            _ => vec![description.input.clone()],
        };
        if needs.len() != tables.len() {
            let (reads, has) = (needs.len(), tables.len());
            return Err(Error::job(format!("{plugin_name} reads {reads} tables, but the call has {has}")));
        }
        let reads = needs.iter().zip(&tables).map(|(needs, table)| ColumnSelection::select(needs, table, &plugin_name));
        let reads = reads.collect::<Result<Vec<_>>>()?;
        let blame = (used.on_error == OnError::Reject).then(|| RejectionOrigin {
            stage: used.stage.clone(),
            plugin: description.name.clone(),
            version: description.version.clone(),
            digest: plugin.digest(),
        });
        let first = tables.first().cloned().unwrap_or_else(|| Arc::new(Schema::empty()));
        let rejected = RejectedRows::new(&first, tables.len(), blame).at_most(&used.stage, ready.rejected_bytes_max);
        Ok(PreparedTables { tables, description, reads, needs, keys, rejected, key, callers: Mutex::default() })
    }

    /// Returns whether it was prepared for these tables.
    pub fn is_for(&self, tables: &[SchemaRef], key: &[String]) -> bool {
        self.tables == tables && self.key == key
    }

    /// Runs code with an exclusive caller. A caller whose call failed is not used again.
    pub fn with_caller<T>(
        &self,
        ready: &ConfiguredPlugin,
        is_kept: bool,
        work: impl FnOnce(&mut Caller) -> Result<T>,
    ) -> Result<T> {
        let kept = if is_kept { self.callers().idle.pop() } else { None };
        let mut caller = kept.unwrap_or_else(|| {
            let mut used = ready.used.clone();
            if let Some(keys) = self.keys.first() {
                used.key = keys.schema().clone();
            }
            ready.plugin.caller(used, &self.description)
        });
        let result = work(&mut caller);
        if is_kept && result.is_ok() {
            self.callers().idle.push(caller);
        } else {
            self.callers().past_costs.add(&caller.account().costs());
        }
        result
    }

    /// Returns the cost of all completed calls.
    pub fn costs(&self) -> Costs {
        let callers = self.callers();
        let mut costs = callers.past_costs.clone();
        callers.idle.iter().for_each(|caller| costs.add(&caller.account().costs()));
        costs
    }

    fn callers(&self) -> MutexGuard<'_, Callers> {
        self.callers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn kinds(schema: &Schema) -> Vec<types::ColumnType> {
    schema.fields().iter().map(|field| types::ColumnType::from_arrow(field.data_type())).collect()
}
