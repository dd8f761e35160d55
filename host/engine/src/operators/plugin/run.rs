//! Stages with a `transform` plugin, and code shared by stages with any plugin.

use crate::operators::context::BuildContext;
use crate::operators::plugin::current::{CurrentPlugin, plugin_of};
use crate::operators::plugin::node::PluginNode;
use crate::operators::plugin::shadow::run::{CallerShadow, MakeShadow, ShadowSlot};
use crate::operators::stage::StageNode;
use crate::timely_ext::{Output, Parts, each_part};
use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_base::ids::PartOrder;
use millstream_job::spec::OnError;
use millstream_metrics::{Counts, PluginId};
use millstream_plugins::plugin::{Caller, Processed};
use millstream_rows::batch::part::Part;
use millstream_rows::batch::rejected::{RejectedRow, RejectedRows, merge_rejections, without_nulls};

/// Builds a stage with a `transform` plugin: its rows, and its rejected rows.
pub fn transform<'s>(
    stage: &StageNode,
    node: &PluginNode,
    input: Parts<'s>,
    build: &BuildContext<'s, '_>,
) -> (Parts<'s>, Parts<'s>) {
    let metrics = build.metrics.counts(&stage.name);
    let mut calling = OperatorPlugin::new(stage, node, build);
    let mut readable = ReadableRows::new(stage, node, build);
    let mut shadow = ShadowSlot::default();
    each_part(input, &stage.name, build.failure.clone(), move |context, part, output| {
        readable.renew()?;
        // An upstream stage may have built a large part.
        for part in part.for_calls() {
            let (rows, nulls) =
                without_nulls(part.rows.clone(), &readable.reads, &readable.needs).map_err(Error::arrow)?;
            let caller = calling.renewed(&mut shadow, CallerShadow::of_caller)?;
            let Processed { rows: made, rejections } =
                caller.process(context.call(), &rows.project(&readable.reads).map_err(Error::arrow)?)?;
            let rejected_rows = merge_rejections(nulls, rejections);
            if let Some(run) = shadow.in_batch(context) {
                run.transform(context, &part.rows, &made, &rejected_rows);
            }
            metrics.add_rows(made.num_rows());
            output.push(context, part.order.clone(), made);
            readable.reject(context, part.order, &part.rows, rejected_rows, output)?;
        }
        Ok(())
    })
}

/// Order of a part's rows that the operator rejects: after those that were rejected before.
const REJECTED_ORDER: u64 = 1;

/// Returns a caller of the stage's plugin, which uses the stage's counters and costs.
pub fn caller(node: &PluginNode, metrics: &Counts) -> Caller {
    let mut caller = node.plugin.caller(node.stage.clone(), &node.description);
    if let Some(before) = &node.before {
        caller.on_trial(before.clone());
    }
    metrics.share_counters(caller.counters().clone());
    metrics.share_account(PluginId::new(&node.plugin, &node.description), caller.account().clone());
    caller
}

/// A stage's plugin, as called by one operator.
pub struct OperatorPlugin {
    /// The stage.
    pub current: CurrentPlugin,
    caller: Caller,
    metrics: Counts,
}

impl OperatorPlugin {
    /// Creates a caller for the plugin of this stage.
    pub fn new(stage: &StageNode, node: &PluginNode, build: &BuildContext<'_, '_>) -> OperatorPlugin {
        let metrics = build.metrics.counts(&stage.name);
        OperatorPlugin { current: CurrentPlugin::new(stage, build.versions), caller: caller(node, &metrics), metrics }
    }

    /// Returns the caller for this batch: a new one if the plugin was replaced.
    pub fn caller(&mut self) -> Result<&mut Caller> {
        if let Some(stage) = self.current.renewed() {
            self.caller = caller(plugin_of(&stage)?, &self.metrics);
        }
        Ok(&mut self.caller)
    }

    /// As [`Self::caller`], if the next version may run in a shadow. `make` creates its caller.
    pub fn renewed<T>(&mut self, shadow: &mut ShadowSlot<T>, make: MakeShadow<T>) -> Result<&mut Caller> {
        self.caller()?;
        shadow.update(&self.current, self.caller.account(), make);
        Ok(&mut self.caller)
    }
}

/// Selects the rows of a part that a plugin can read. Rows with a null in a column that must have a value are rejected.
pub struct ReadableRows {
    /// Indexes of the columns that the plugin reads.
    pub reads: Vec<usize>,
    needs: SchemaRef,
    rejected: RejectedRows,
    metrics: Counts,
    current: CurrentPlugin,
    /// For an aggregate: rejects the rows that fail to convert to an accumulator.
    lifting: Option<Caller>,
}

impl ReadableRows {
    /// Creates it for the plugin of this stage.
    pub fn new(stage: &StageNode, node: &PluginNode, build: &BuildContext<'_, '_>) -> ReadableRows {
        ReadableRows {
            reads: node.reads.clone(),
            needs: node.description.input.clone(),
            rejected: stage.rejected.clone(),
            metrics: build.metrics.counts(&stage.name),
            current: CurrentPlugin::new(stage, build.versions),
            lifting: None,
        }
    }

    /// Creates it for the aggregate of this stage.
    pub fn to_lift(stage: &StageNode, node: &PluginNode, build: &BuildContext<'_, '_>) -> ReadableRows {
        let rejects = node.stage.on_error == OnError::Reject;
        let lifting = rejects.then(|| caller(node, &build.metrics.counts(&stage.name)));
        ReadableRows { lifting, ..ReadableRows::new(stage, node, build) }
    }

    /// Starts or continues a batch: switches to the current plugin.
    pub fn renew(&mut self) -> Result<()> {
        let Some(stage) = self.current.renewed() else { return Ok(()) };
        let node = plugin_of(&stage)?;
        (self.reads, self.needs) = (node.reads.clone(), node.description.input.clone());
        self.rejected = stage.rejected.clone();
        self.lifting = self.lifting.is_some().then(|| caller(node, &self.metrics));
        Ok(())
    }

    /// Returns the rows of a part that the plugin can read.
    pub fn select(&mut self, context: BatchContext, part: &Part, output: &mut Output) -> Result<RecordBatch> {
        self.renew()?;
        let (rows, nulls) = without_nulls(part.rows.clone(), &self.reads, &self.needs).map_err(Error::arrow)?;
        self.reject(context, part.order.clone(), &part.rows, nulls, output)?;
        let Some(lifting) = &mut self.lifting else { return Ok(rows) };
        let rejected_rows = lifting.find_rejected(context.call(), &rows.project(&self.reads).map_err(Error::arrow)?)?;
        if rejected_rows.is_empty() {
            return Ok(rows);
        }
        let is_good = |row: u32| rejected_rows.binary_search_by_key(&row, |rejection| rejection.row).is_err();
        let keep: BooleanArray = (0..rows.num_rows() as u32).map(|row| Some(is_good(row))).collect();
        let good = filter_record_batch(&rows, &keep).map_err(Error::arrow)?;
        self.reject(context, part.order.clone(), &rows, rejected_rows, output)?;
        Ok(good)
    }

    fn reject(
        &self,
        context: BatchContext,
        order: PartOrder,
        rows: &RecordBatch,
        rejections: Vec<RejectedRow>,
        output: &mut Output,
    ) -> Result<()> {
        if !rejections.is_empty() {
            self.metrics.add_rejected(rejections.len());
            let rejected = self.rejected.rows(context.id, "", rows, &rejections)?;
            // After the part's rows without a valid time.
            output.reject(context, order.then(REJECTED_ORDER), rejected);
        }
        Ok(())
    }
}
