//! Stages with a plugin of world `transform`, and what stages with any plugin need.

use crate::operators::context::BuildContext;
use crate::operators::plugin::current::{CurrentPlugin, plugin_of};
use crate::operators::plugin::node::PluginNode;
use crate::operators::plugin::shadow::run::{CallerShadow, MakeShadow, ShadowSlot};
use crate::operators::stage::StageNode;
use crate::timely_ext::{Output, Parts, each_part};
use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use millstream_base::batch::part::Part;
use millstream_base::batch::rejected::{RefusedRow, RejectedRows, together, without_nulls};
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_base::ids::PartOrder;
use millstream_base::job::spec::OnError;
use millstream_metrics::{Counts, PluginId};
use millstream_plugins::plugin::{Caller, Processed};

/// A stage with a plugin of world `transform`: its rows, and its rejected rows.
pub fn transform<'s>(
    stage: &StageNode,
    node: &PluginNode,
    input: Parts<'s>,
    build: &BuildContext<'s, '_>,
) -> (Parts<'s>, Parts<'s>) {
    let metrics = build.metrics.of(&stage.name);
    let mut calling = OperatorPlugin::new(stage, node, build);
    let mut whole = WholeRows::new(stage, node, build);
    let mut shadow = ShadowSlot::default();
    each_part(input, &stage.name, build.failure.clone(), move |context, part, output| {
        whole.renew()?;
        // A stage before it may have made a large part.
        for part in part.for_calls() {
            let (rows, nulls) = without_nulls(part.rows.clone(), &whole.reads, &whole.needs).map_err(Error::arrow)?;
            let caller = calling.renewed(&mut shadow, CallerShadow::of)?;
            let Processed { rows: made, rejections } =
                caller.process(context.call(), &rows.project(&whole.reads).map_err(Error::arrow)?)?;
            let refused = together(nulls, rejections);
            if let Some(run) = shadow.in_batch(context) {
                run.transform(context, &part.rows, &made, &refused);
            }
            metrics.add_rows(made.num_rows());
            output.push(context, part.order.clone(), made);
            whole.reject(context, part.order, &part.rows, refused, output)?;
        }
        Ok(())
    })
}

/// The place of rows of a part that the operator refuses, behind those that were refused before they reached it.
const REFUSED_ORDER: u64 = 1;

/// A caller of the stage's plugin, whose counters and costs are the stage's.
pub fn caller(node: &PluginNode, metrics: &Counts) -> Caller {
    let mut caller = node.plugin.caller(node.stage.clone(), &node.description);
    if let Some(before) = &node.before {
        caller.on_trial(before.clone());
    }
    metrics.share_counters(caller.counters().clone());
    metrics.share_account(PluginId::of(&node.plugin, &node.description), caller.account().clone());
    caller
}

/// The plugin of a stage, ready to be called by one operator.
pub struct OperatorPlugin {
    /// The stage.
    pub current: CurrentPlugin,
    caller: Caller,
    metrics: Counts,
}

impl OperatorPlugin {
    /// Makes a caller for the plugin of this stage.
    pub fn new(stage: &StageNode, node: &PluginNode, build: &BuildContext<'_, '_>) -> OperatorPlugin {
        let metrics = build.metrics.of(&stage.name);
        OperatorPlugin { current: CurrentPlugin::of(stage, build.versions), caller: caller(node, &metrics), metrics }
    }

    /// The caller for this batch: another one than before where the plugin was replaced.
    pub fn caller(&mut self) -> Result<&mut Caller> {
        if let Some(stage) = self.current.renewed() {
            self.caller = caller(plugin_of(&stage)?, &self.metrics);
        }
        Ok(&mut self.caller)
    }

    /// The same, where the next version may run in a shadow: `make` makes what calls that one.
    pub fn renewed<T>(&mut self, shadow: &mut ShadowSlot<T>, make: MakeShadow<T>) -> Result<&mut Caller> {
        self.caller()?;
        shadow.look(&self.current, self.caller.account(), make);
        Ok(&mut self.caller)
    }
}

/// Takes the rows that a plugin can read out of a part; those with a null where it needs a value are rejected.
pub struct WholeRows {
    /// Places of the columns that the plugin reads.
    pub reads: Vec<usize>,
    needs: SchemaRef,
    rejected: RejectedRows,
    metrics: Counts,
    current: CurrentPlugin,
    /// Of an aggregate: rejects the rows of which no accumulator can be made.
    lifting: Option<Caller>,
}

impl WholeRows {
    /// For the plugin of this stage.
    pub fn new(stage: &StageNode, node: &PluginNode, build: &BuildContext<'_, '_>) -> WholeRows {
        WholeRows {
            reads: node.reads.clone(),
            needs: node.description.input.clone(),
            rejected: stage.rejected.clone(),
            metrics: build.metrics.of(&stage.name),
            current: CurrentPlugin::of(stage, build.versions),
            lifting: None,
        }
    }

    /// For the aggregate of this stage.
    pub fn to_lift(stage: &StageNode, node: &PluginNode, build: &BuildContext<'_, '_>) -> WholeRows {
        let rejects = node.stage.on_error == OnError::Reject;
        let lifting = rejects.then(|| caller(node, &build.metrics.of(&stage.name)));
        WholeRows { lifting, ..WholeRows::new(stage, node, build) }
    }

    /// A batch begins, or goes on: it is for the plugin that runs now.
    pub fn renew(&mut self) -> Result<()> {
        let Some(stage) = self.current.renewed() else { return Ok(()) };
        let node = plugin_of(&stage)?;
        (self.reads, self.needs) = (node.reads.clone(), node.description.input.clone());
        self.rejected = stage.rejected.clone();
        self.lifting = self.lifting.is_some().then(|| caller(node, &self.metrics));
        Ok(())
    }

    /// The rows of a part that the plugin can read.
    pub fn of(&mut self, context: BatchContext, part: &Part, output: &mut Output) -> Result<RecordBatch> {
        self.renew()?;
        let (rows, nulls) = without_nulls(part.rows.clone(), &self.reads, &self.needs).map_err(Error::arrow)?;
        self.reject(context, part.order.clone(), &part.rows, nulls, output)?;
        let Some(lifting) = &mut self.lifting else { return Ok(rows) };
        let refused = lifting.refused(context.call(), &rows.project(&self.reads).map_err(Error::arrow)?)?;
        if refused.is_empty() {
            return Ok(rows);
        }
        let is_good = |row: u32| refused.binary_search_by_key(&row, |refusal| refusal.row).is_err();
        let keep: BooleanArray = (0..rows.num_rows() as u32).map(|row| Some(is_good(row))).collect();
        let good = filter_record_batch(&rows, &keep).map_err(Error::arrow)?;
        self.reject(context, part.order.clone(), &rows, refused, output)?;
        Ok(good)
    }

    fn reject(
        &self,
        context: BatchContext,
        order: PartOrder,
        rows: &RecordBatch,
        rejections: Vec<RefusedRow>,
        output: &mut Output,
    ) -> Result<()> {
        if !rejections.is_empty() {
            self.metrics.add_rejected(rejections.len());
            let rejected = self.rejected.rows(context.id, "", rows, &rejections)?;
            // Behind the rows of the part whose time could not be used.
            output.reject(context, order.then(REFUSED_ORDER), rejected);
        }
        Ok(())
    }
}
