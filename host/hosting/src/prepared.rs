//! A plugin that was asked about tables of some columns, and callers that are ready to work on them.

use super::fitting::{Fitting, told};
use super::settings::ReadyPlugin;
use arrow::datatypes::{Schema, SchemaRef};
use millstream_base::batch::rejected::{RejectedRows, RejectionOrigin};
use millstream_base::batch::types;
use millstream_base::error::{Error, Result};
use millstream_base::job::spec::OnError;
use millstream_plugins::plugin::{Caller, Costs, Description, World};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// For tables of these columns.
pub struct Prepared {
    /// The columns of each table, as they come.
    pub tables: Vec<SchemaRef>,
    /// What the plugin said of itself.
    pub description: Description,
    /// For each table the columns that the plugin reads.
    pub reads: Vec<Fitting>,
    /// The columns as the description has them.
    pub needs: Vec<SchemaRef>,
    /// For each table the key columns.
    pub keys: Vec<Fitting>,
    /// What becomes of refused rows.
    pub rejected: RejectedRows,
    /// The names of the key columns.
    key: Vec<String>,
    callers: Mutex<Callers>,
}

/// Those that wait for the next call, and what others have cost.
#[derive(Default)]
struct Callers {
    idle: Vec<Caller>,
    gone: Costs,
}

impl Prepared {
    /// Asks the plugin.
    pub fn new(ready: &ReadyPlugin, tables: Vec<SchemaRef>, key: Vec<String>) -> Result<Prepared> {
        let ReadyPlugin { plugin, used, .. } = ready;
        let keys = tables.iter().map(|table| Fitting::named(&key, table)).collect::<Result<Vec<_>>>()?;
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
        let told: Vec<SchemaRef> = tables.iter().map(|table| told(table)).collect();
        let description = plugin.describe_for(&used, &told)?;
        let who = format!("plugin {} {}", description.name, description.version);
        if let Some(wanted) = description.key.as_deref().filter(|wanted| kinds(wanted) != kinds(&key_schema)) {
            return Err(Error::job(format!(
                "{who} needs a key of {}, and the call's key is {}; correct `key`",
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
            return Err(Error::job(format!("{who} reads {reads} tables, and the call has {has}")));
        }
        let reads = needs.iter().zip(&tables).map(|(needs, table)| Fitting::of(needs, table, &who));
        let reads = reads.collect::<Result<Vec<_>>>()?;
        let blame = (used.on_error == OnError::Reject).then(|| RejectionOrigin {
            stage: used.stage.clone(),
            plugin: description.name.clone(),
            version: description.version.clone(),
            digest: plugin.digest(),
        });
        let first = tables.first().cloned().unwrap_or_else(|| Arc::new(Schema::empty()));
        let rejected = RejectedRows::of(&first, tables.len(), blame).at_most(&used.stage, ready.rejected_bytes_max);
        Ok(Prepared { tables, description, reads, needs, keys, rejected, key, callers: Mutex::default() })
    }

    /// Whether it is for such tables.
    pub fn is_for(&self, tables: &[SchemaRef], key: &[String]) -> bool {
        self.tables == tables && self.key == key
    }

    /// Works with a caller that nobody else has meanwhile. One whose call failed is not used again.
    pub fn with_caller<T>(
        &self,
        ready: &ReadyPlugin,
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
        let made = work(&mut caller);
        if is_kept && made.is_ok() {
            self.callers().idle.push(caller);
        } else {
            self.callers().gone.add(&caller.account().costs());
        }
        made
    }

    /// What all calls have cost that are over.
    pub fn costs(&self) -> Costs {
        let callers = self.callers();
        let mut costs = callers.gone.clone();
        callers.idle.iter().for_each(|caller| costs.add(&caller.account().costs()));
        costs
    }

    fn callers(&self) -> MutexGuard<'_, Callers> {
        self.callers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn kinds(schema: &Schema) -> Vec<types::ColumnType> {
    schema.fields().iter().map(|field| types::ColumnType::of(field.data_type())).collect()
}
