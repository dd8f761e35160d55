//! The functions of an aggregate over windows, built-in or a plugin's, as the windows use them.

use super::builtin::Builtin;
use crate::operators::window::state::panes::{Accumulate, pane_field};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema, SchemaRef};
use millstream_base::context::{BatchContext, CallContext};
use millstream_base::error::{Error, Result};
use millstream_plugins::plugin::Caller;
use millstream_plugins::plugin::reduce::{self, combine_by_key, combine_groups};
use millstream_rows::batch::group::Grouper;
use millstream_rows::batch::keys::canonical_column;
use millstream_rows::batch::types::with_fields;
use std::sync::Arc;

/// The functions of one stage on one worker.
pub enum Functions {
    /// Built-in functions.
    Builtin(Box<Builtins>),
    /// A plugin of world `aggregate`.
    Plugin(Box<Reducer>),
}

/// Built-in functions.
pub struct Builtins {
    plain: Builtin,
    /// The same functions, with the pane as an additional key column.
    by_pane: Builtin,
    grouper: Grouper,
}

/// The functions of a plugin.
pub struct Reducer {
    /// Calls the plugin.
    pub caller: Caller,
    /// The columns of the stage's input.
    pub input: SchemaRef,
    /// Indexes of its key columns.
    pub key: Vec<usize>,
    /// Indexes of the columns that the plugin reads.
    pub reads: Vec<usize>,
    /// The columns of its accumulators.
    pub state: SchemaRef,
    /// Scratch buffers.
    pub grouper: Grouper,
}

impl Functions {
    /// Wraps built-in functions over rows with `columns` columns.
    pub fn builtin(builtin: &Builtin, columns: usize) -> Functions {
        let by_pane = builtin.by_pane(columns, pane_field());
        Functions::Builtin(Box::new(Builtins { plain: builtin.clone(), by_pane, grouper: Grouper::default() }))
    }

    /// Returns the partial results of rows: key columns and the input of [`Accumulate::merge`].
    pub fn partial(&mut self, context: CallContext, rows: &RecordBatch) -> Result<RecordBatch> {
        match self {
            Functions::Builtin(own) => Ok(own.plain.partial(of_call(context), rows, &mut own.grouper)?.0),
            Functions::Plugin(own) => own.partial(context, rows, None),
        }
    }

    /// As [`Functions::partial`], by key and pane; the pane is the column after the key columns. `runs` counts the consecutive rows of each pane.
    pub fn partial_by_pane(
        &mut self,
        context: CallContext,
        rows: &RecordBatch,
        runs: &[(i64, usize)],
    ) -> Result<Vec<RecordBatch>> {
        /// Shorter runs are not aggregated one by one.
        const RUN_ROWS_MIN: usize = 64;
        if let Functions::Builtin(own) = self
            && runs.len() * RUN_ROWS_MIN <= rows.num_rows().max(RUN_ROWS_MIN)
        {
            let mut start = 0;
            let partial = |(pane, length): &(i64, usize)| {
                let (partial, _) =
                    own.plain.partial(of_call(context), &rows.slice(start, *length), &mut own.grouper)?;
                start += length;
                own.with_pane(&partial, *pane)
            };
            return runs.iter().map(partial).collect();
        }
        let panes = runs.iter().flat_map(|(pane, length)| std::iter::repeat_n(*pane, *length));
        let panes: ArrayRef = Arc::new(Int64Array::from_iter_values(panes));
        Ok(vec![match self {
            Functions::Builtin(own) => {
                let columns = rows.columns().iter().cloned().chain([panes]).collect();
                let schema = with_fields(rows.schema_ref(), [Arc::new(pane_field())]);
                let rows = RecordBatch::try_new(schema, columns).map_err(Error::arrow)?;
                own.by_pane.partial(of_call(context), &rows, &mut own.grouper)?.0
            }
            Functions::Plugin(own) => own.partial(context, rows, Some(panes))?,
        }])
    }

    /// Returns the columns of partial results.
    pub fn partial_schema(&self, by_pane: bool) -> SchemaRef {
        match self {
            Functions::Builtin(own) if by_pane => own.by_pane.partial_schema().clone(),
            Functions::Builtin(own) => own.plain.partial_schema().clone(),
            Functions::Plugin(own) => own.partial_schema(by_pane),
        }
    }

    /// Returns the columns of accumulators.
    pub fn accumulators(&self) -> Result<SchemaRef> {
        match self {
            Functions::Builtin(own) => own.plain.accumulators(),
            Functions::Plugin(own) => Ok(own.state.clone()),
        }
    }

    /// Returns the result columns of keys, without the key columns.
    pub fn lower(
        &mut self,
        context: CallContext,
        keys: &[ArrayRef],
        accumulators: &RecordBatch,
    ) -> Result<RecordBatch> {
        match self {
            Functions::Builtin(own) => own.plain.lower(accumulators),
            Functions::Plugin(own) => {
                let keys = reduce::key_batch(&own.input, &own.key, keys.to_vec(), accumulators.num_rows())?;
                own.caller.lower(context, &keys, accumulators)
            }
        }
    }

    /// Returns the results of no rows without a key; `None` for a plugin.
    pub fn empty_result(&self) -> Result<Option<RecordBatch>> {
        match self {
            Functions::Builtin(own) => own.plain.empty_result().map(Some),
            Functions::Plugin(_) => Ok(None),
        }
    }

    /// Binds the functions to a batch, for its windows.
    pub fn for_batch(&mut self, context: CallContext) -> BatchFunctions<'_> {
        BatchFunctions { functions: self, context }
    }
}

/// Returns the batch of a call, for conditions of built-in functions.
fn of_call(context: CallContext) -> BatchContext {
    BatchContext::new(context.batch, context.time)
}

impl Builtins {
    fn with_pane(&self, partial: &RecordBatch, pane: i64) -> Result<RecordBatch> {
        let mut columns = partial.columns().to_vec();
        columns.insert(self.plain.key_columns(), Arc::new(Int64Array::from(vec![pane; partial.num_rows()])));
        RecordBatch::try_new(self.by_pane.partial_schema().clone(), columns).map_err(Error::arrow)
    }
}

impl Reducer {
    fn partial_schema(&self, by_pane: bool) -> SchemaRef {
        let keys = self.key.iter().filter_map(|index| self.input.fields().get(*index)).cloned();
        let pane = by_pane.then(|| Arc::new(pane_field()));
        let fields: Vec<Arc<Field>> = keys.chain(pane).chain(self.state.fields().iter().cloned()).collect();
        Arc::new(Schema::new(fields))
    }

    fn partial(&mut self, context: CallContext, rows: &RecordBatch, panes: Option<ArrayRef>) -> Result<RecordBatch> {
        let schema = self.partial_schema(panes.is_some());
        let lifted = self.caller.lift(context, &rows.project(&self.reads).map_err(Error::arrow)?)?;
        let keys: Vec<ArrayRef> = self.key.iter().map(|key| canonical_column(rows.column(*key))).chain(panes).collect();
        let reduced = combine_by_key(&mut self.caller, context, &keys, lifted, &mut self.grouper)?;
        reduce::with_keys(&schema, &reduced.keys, &reduced.accumulators)
    }
}

/// The functions of a stage during one batch.
pub struct BatchFunctions<'a> {
    functions: &'a mut Functions,
    context: CallContext,
}

impl Accumulate for BatchFunctions<'_> {
    fn merge(&mut self, partial: &[ArrayRef], groups: &[usize], count: usize) -> Result<RecordBatch> {
        match self.functions {
            Functions::Builtin(own) => own.plain.merge(partial, groups, count),
            Functions::Plugin(own) => {
                let options = RecordBatchOptions::new().with_row_count(Some(groups.len()));
                let rows = RecordBatch::try_new_with_options(own.state.clone(), partial.to_vec(), &options);
                combine_groups(&mut own.caller, self.context, &rows.map_err(Error::arrow)?, groups, count)
            }
        }
    }

    fn combine(&mut self, left: &RecordBatch, right: &RecordBatch) -> Result<RecordBatch> {
        match self.functions {
            Functions::Builtin(own) => own.plain.combine(left, right),
            Functions::Plugin(own) => own.caller.combine(self.context, left, right),
        }
    }

    fn inverse(&mut self, total: &RecordBatch, part: &RecordBatch) -> Result<RecordBatch> {
        match self.functions {
            Functions::Builtin(own) => own.plain.inverse(total, part),
            Functions::Plugin(own) => own.caller.inverse(self.context, total, part),
        }
    }
}
