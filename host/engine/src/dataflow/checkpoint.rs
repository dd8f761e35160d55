//! Checkpoints in the graph: at a barrier each worker hands over what changed, worker 0 publishes when all of it is
//! durable and all sinks have committed.

use crate::checkpoint::save::{CheckpointWriter, Published, SavedFile};
use crate::checkpoint::types::StateFile;
use crate::context::Tick;
use crate::ids::{BatchId, BatchTime};
use crate::metrics::Metrics;
use crate::timely_ext::{Answers, ChangesStream, Parts, Ticks};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

/// A durable file on its way to worker 0.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Saved {
    table: usize,
    file: StateFile,
}

/// Builds both steps. `committed` are the streams of the sinks; `swapped` has a tick for each barrier behind which a plugin
/// was replaced. Returns a stream without rows that has passed a barrier
/// when its checkpoint is published.
pub fn build<'s>(
    ticks: Ticks<'s>,
    changes: ChangesStream<'s>,
    committed: Parts<'s>,
    swapped: Ticks<'s>,
    worker: usize,
    saver: CheckpointWriter,
    metrics: Metrics,
) -> Ticks<'s> {
    let saved = save(ticks.clone(), changes, worker, saver.clone(), metrics);
    publish(ticks, saved, committed, swapped, worker, saver)
}

/// Has what the stages and sources of this worker changed written; puts out the files when they are durable.
fn save<'s>(
    ticks: Ticks<'s>,
    changes: ChangesStream<'s>,
    worker: usize,
    saver: CheckpointWriter,
    metrics: Metrics,
) -> Stream<'s, u64, Vec<Saved>> {
    let scope = ticks.scope();
    let mut builder = OperatorBuilder::new("save".to_owned(), scope);
    let answers =
        Answers::<Vec<SavedFile>>::new(scope.worker().sync_activator_for(builder.operator_info().address.to_vec()));
    let mut ticks = builder.new_input(ticks, Pipeline);
    let mut changes = builder.new_input(changes, Pipeline);
    let (saved, saved_stream) = builder.new_output::<Vec<Saved>>();
    let mut saved = OutputBuilder::<u64, CapacityContainerBuilder<Vec<Saved>>>::from(saved);
    builder.build(move |_| {
        let mut waiting: BTreeMap<u64, Vec<_>> = BTreeMap::new();
        let mut barriers = BTreeMap::new();
        let mut saving = BTreeMap::new();
        move |frontiers| {
            ticks.for_each(|capability, _| {
                if BatchId::of_stamp(*capability.time()).1 {
                    barriers.insert(*capability.time(), capability.retain(0));
                }
            });
            changes.for_each(|capability, changes| {
                waiting.entry(*capability.time()).or_default().append(changes);
            });
            while let Some(first) = barriers.first_entry() {
                let stamp = *first.key();
                if frontiers.iter().any(|frontier| frontier.less_equal(&stamp)) {
                    break;
                }
                saving.insert(stamp, first.remove());
                let done = answers.clone();
                let changes = waiting.remove(&stamp).unwrap_or_default();
                saver.save(BatchId::of_stamp(stamp).0, worker, changes, move |files| done.give(stamp, files));
            }
            for (stamp, files) in answers.take() {
                if let Some(capability) = saving.remove(&stamp) {
                    metrics.progressed();
                    let files = files.into_iter().map(|(table, file)| Saved { table, file });
                    saved.activate().session(&capability).give_iterator(files);
                }
            }
        }
    });
    saved_stream
}

/// On worker 0: publishes a checkpoint when all its files are there and all sinks have committed.
fn publish<'s>(
    ticks: Ticks<'s>,
    saved: Stream<'s, u64, Vec<Saved>>,
    committed: Parts<'s>,
    swapped: Ticks<'s>,
    worker: usize,
    saver: CheckpointWriter,
) -> Ticks<'s> {
    let scope = ticks.scope();
    let mut builder = OperatorBuilder::new("publish".to_owned(), scope);
    let answers = Answers::<()>::new(scope.worker().sync_activator_for(builder.operator_info().address.to_vec()));
    let mut ticks = builder.new_input(ticks, Pipeline);
    let mut saved = builder.new_input(saved, Exchange::new(|_: &Saved| 0));
    let mut committed = builder.new_input(committed, Pipeline);
    let mut swapped = builder.new_input(swapped, Pipeline);
    let (_published, published_stream) = builder.new_output::<Vec<Tick>>();
    builder.build(move |_| {
        let mut waiting: BTreeMap<u64, Vec<SavedFile>> = BTreeMap::new();
        let mut barriers = BTreeMap::new();
        let mut publishing = BTreeMap::new();
        let mut swaps: BTreeSet<u64> = BTreeSet::new();
        move |frontiers| {
            ticks.for_each(|capability, ticks| {
                if let Some(tick) = ticks.first().filter(|_| worker == 0 && BatchId::of_stamp(*capability.time()).1) {
                    barriers.insert(*capability.time(), (tick.time, capability.retain(0)));
                }
            });
            saved.for_each(|capability, saved| {
                let files = saved.drain(..).map(|saved| (saved.table, saved.file));
                waiting.entry(*capability.time()).or_default().extend(files);
            });
            committed.for_each(|_, _| {});
            swapped.for_each(|capability, _| {
                swaps.insert(*capability.time());
            });
            while let Some(first) = barriers.first_entry() {
                let stamp = *first.key();
                if frontiers.iter().any(|frontier| frontier.less_equal(&stamp)) {
                    break;
                }
                let (time, capability): (BatchTime, _) = first.remove();
                publishing.insert(stamp, capability);
                let files = waiting.remove(&stamp).unwrap_or_default();
                let done = answers.clone();
                let published =
                    Published { batch: BatchId::of_stamp(stamp).0, time, files, swap: swaps.remove(&stamp) };
                saver.publish(published, move || done.give(stamp, ()));
            }
            for (stamp, ()) in answers.take() {
                publishing.remove(&stamp);
            }
        }
    });
    published_stream
}
