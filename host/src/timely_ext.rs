//! The two shapes of operator that stages are made of: one that works on each part as it comes, and one that waits
//! until all parts of a batch are there.

use crate::batch::part::Part;
use crate::error::{Error, Result};
use crate::ids::{BatchId, BatchTime, PartOrder};
use crate::run::Failure;
use arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

/// A stream of parts; the timestamp is the batch id.
pub type Parts<'s> = Stream<'s, u64, Vec<Part>>;
/// The stream of ticks that every worker sees.
pub type Ticks<'s> = Stream<'s, u64, Vec<Tick>>;

/// The beginning of a batch: worker 0 decides it, all workers see it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Tick {
    /// The worker that this copy is for.
    pub to: u64,
    /// The batch time.
    pub time: BatchTime,
}

/// The batch that an operator works on.
#[derive(Clone, Copy, Debug)]
pub struct BatchContext {
    /// Its id.
    pub id: BatchId,
    /// Its time.
    pub time: BatchTime,
}

/// Whether these are a panic's words by which timely's threads end when the connection to another process breaks.
pub fn is_lost_connection(words: &str) -> bool {
    let signs = ["timely communication error:", "MergeQueue poisoned", "Send thread panic", "Recv thread panic"];
    signs.iter().any(|sign| words.contains(sign))
}

/// The error that such a panic stands for.
pub fn lost_connection() -> Error {
    Error::environment(
        "the connection to another process of the job broke, so the job cannot go on; see what that process said, and \
         start all of them again",
    )
}

/// What an operator puts out for one batch.
#[derive(Default)]
pub struct Output {
    /// Rows for the next stages.
    pub rows: Vec<Part>,
    /// Rejected rows.
    pub rejected: Vec<Part>,
}

impl Output {
    /// Adds rows for the next stages, unless there are none.
    pub fn push(&mut self, context: BatchContext, order: PartOrder, rows: RecordBatch) {
        if rows.num_rows() > 0 {
            self.rows.push(Part { to: 0, order, time: context.time, rows });
        }
    }

    /// Adds rejected rows, unless there are none.
    pub fn reject(&mut self, context: BatchContext, order: PartOrder, rows: RecordBatch) {
        if rows.num_rows() > 0 {
            self.rejected.push(Part { to: 0, order, time: context.time, rows });
        }
    }
}

/// An operator that works on each part by itself, as it comes. An error stops the job.
pub fn each_part<'s>(
    parts: Parts<'s>,
    name: &str,
    failure: Failure,
    mut work: impl FnMut(BatchContext, Part, &mut Output) -> Result<()> + 'static,
) -> (Parts<'s>, Parts<'s>) {
    let mut builder = OperatorBuilder::new(name.to_owned(), parts.scope());
    let mut input = builder.new_input(parts, Pipeline);
    let (rows, rows_stream) = builder.new_output::<Vec<Part>>();
    let (rejected, rejected_stream) = builder.new_output::<Vec<Part>>();
    let mut rows = PartOutput::from(rows);
    let mut rejected = PartOutput::from(rejected);
    builder.build(move |_| {
        move |_| {
            input.for_each(|capability, parts| {
                let mut output = Output::default();
                for part in parts.drain(..) {
                    if failure.happened() {
                        return;
                    }
                    let context = BatchContext { id: BatchId(*capability.time()), time: part.time };
                    if let Err(error) = work(context, part, &mut output) {
                        failure.set(error);
                    }
                }
                rows.activate().session(&capability).give_iterator(output.rows.drain(..));
                if !output.rejected.is_empty() {
                    rejected.activate().session(&capability).give_iterator(output.rejected.drain(..));
                }
            });
        }
    });
    (rows_stream, rejected_stream)
}

/// An operator that waits until a batch is complete and then works on all its parts that reached this worker, in
/// order. It is called for every batch, also where no part came. `route` says to which worker a part goes.
pub fn each_batch<'s>(
    parts: Parts<'s>,
    ticks: Ticks<'s>,
    name: &str,
    failure: Failure,
    route: impl Fn(&Part) -> u64 + 'static,
    mut work: impl FnMut(BatchContext, Vec<Part>, &mut Output) -> Result<()> + 'static,
) -> (Parts<'s>, Parts<'s>) {
    let mut builder = OperatorBuilder::new(name.to_owned(), parts.scope());
    let mut input = builder.new_input(parts, Exchange::new(route));
    let mut ticks = builder.new_input(ticks, Pipeline);
    let (rows, rows_stream) = builder.new_output::<Vec<Part>>();
    let (rejected, rejected_stream) = builder.new_output::<Vec<Part>>();
    let mut rows = PartOutput::from(rows);
    let mut rejected = PartOutput::from(rejected);
    builder.build(move |_| {
        let mut waiting: BTreeMap<u64, Waiting> = BTreeMap::new();
        move |frontiers| {
            input.for_each(|capability, parts| {
                waiting.entry(*capability.time()).or_default().parts.append(parts);
            });
            ticks.for_each(|capability, ticks| {
                let entry = waiting.entry(*capability.time()).or_default();
                entry.begun = ticks.first().map(|tick| (tick.time, capability.retain(0), capability.retain(1)));
            });
            while let Some(first) = waiting.first_entry() {
                let id = *first.key();
                if frontiers.iter().any(|frontier| frontier.less_equal(&id)) || failure.happened() {
                    break;
                }
                let mut batch = first.remove();
                let Some((time, for_rows, for_rejected)) = batch.begun else { continue };
                // Stable: rows that a transform refused for a null come before those that its plugin refused.
                batch.parts.sort_by_key(|part| part.order);
                let mut output = Output::default();
                if let Err(error) = work(BatchContext { id: BatchId(id), time }, batch.parts, &mut output) {
                    failure.set(error);
                    break;
                }
                rows.activate().session(&for_rows).give_iterator(output.rows.drain(..));
                rejected.activate().session(&for_rejected).give_iterator(output.rejected.drain(..));
            }
        }
    });
    (rows_stream, rejected_stream)
}

type PartOutput = OutputBuilder<u64, CapacityContainerBuilder<Vec<Part>>>;

/// What an `each_batch` operator holds of a batch that is not complete.
#[derive(Default)]
struct Waiting {
    parts: Vec<Part>,
    begun: Option<(BatchTime, Capability<u64>, Capability<u64>)>,
}
