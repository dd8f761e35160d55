//! Checkpoints in the graph: at a barrier each worker hands over what changed. Worker 0 publishes the checkpoint when all of it is durable and all
//! sinks have committed.

use crate::checkpoint::types::StateFile;
use crate::checkpoint::writer::{CheckpointWriter, PublishedCheckpoint, SavedFile};
use crate::running::Running;
use crate::timely_ext::{ChangesStream, Completions, Parts, Pending, Ticks};
use millstream_base::context::Tick;
use millstream_base::failure::Failure;
use millstream_base::ids::BatchId;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

/// A durable file, sent to worker 0.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct WrittenFile {
    table: usize,
    file: StateFile,
}

/// Builds both steps. `committed` are the streams of the sinks; `swapped` has a tick for each barrier after which a plugin was replaced. Returns a
/// stream without rows that has passed a barrier when its checkpoint is published.
pub fn build<'s>(
    ticks: Ticks<'s>,
    changes: ChangesStream<'s>,
    committed: Parts<'s>,
    swapped: Ticks<'s>,
    worker: usize,
    writer: CheckpointWriter,
    running: &Running,
) -> Ticks<'s> {
    let failure = running.failure.clone();
    let written = save(ticks.clone(), changes, worker, writer.clone(), failure.clone());
    publish(ticks, written, committed, swapped, worker, writer, failure)
}

/// Writes the changes of this worker's stages and sources; emits the files when they are durable.
fn save<'s>(
    ticks: Ticks<'s>,
    changes: ChangesStream<'s>,
    worker: usize,
    writer: CheckpointWriter,
    failure: Failure,
) -> Stream<'s, u64, Vec<WrittenFile>> {
    let scope = ticks.scope();
    let mut builder = OperatorBuilder::new("save".to_owned(), scope);
    let written_files = Completions::<Vec<SavedFile>>::new(scope, &builder);
    let mut ticks = builder.new_input(ticks, Pipeline);
    let mut changes = builder.new_input(changes, Pipeline);
    let (written, written_stream) = builder.new_output::<Vec<WrittenFile>>();
    let mut written = OutputBuilder::<u64, CapacityContainerBuilder<Vec<WrittenFile>>>::from(written);
    builder.build(move |_| {
        let mut waiting: BTreeMap<u64, Vec<_>> = BTreeMap::new();
        let mut barriers = Pending::default();
        let mut saving = BTreeMap::new();
        move |frontiers| {
            ticks.for_each(|capability, _| {
                if BatchId::of_stamp(*capability.time()).1 {
                    barriers.insert(*capability.time(), Some(capability.retain(0)));
                }
            });
            changes.for_each(|capability, changes| {
                waiting.entry(*capability.time()).or_default().append(changes);
            });
            barriers.each_complete(frontiers, &failure, |stamp, capability| {
                saving.insert(stamp, capability.take());
                let done = written_files.clone();
                let changes = waiting.remove(&stamp).unwrap_or_default();
                writer.save(BatchId::of_stamp(stamp).0, worker, changes, move |files| done.complete(stamp, files));
                Ok(())
            });
            for (stamp, files) in written_files.take() {
                if let Some(capability) = saving.remove(&stamp).flatten() {
                    let files = files.into_iter().map(|(table, file)| WrittenFile { table, file });
                    written.activate().session(&capability).give_iterator(files);
                }
            }
        }
    });
    written_stream
}

/// On worker 0: publishes a checkpoint when all its files are durable and all sinks have committed.
fn publish<'s>(
    ticks: Ticks<'s>,
    written: Stream<'s, u64, Vec<WrittenFile>>,
    committed: Parts<'s>,
    swapped: Ticks<'s>,
    worker: usize,
    writer: CheckpointWriter,
    failure: Failure,
) -> Ticks<'s> {
    let scope = ticks.scope();
    let mut builder = OperatorBuilder::new("publish".to_owned(), scope);
    let done = Completions::<()>::new(scope, &builder);
    let mut ticks = builder.new_input(ticks, Pipeline);
    let mut written = builder.new_input(written, Exchange::new(|_: &WrittenFile| 0));
    let mut committed = builder.new_input(committed, Pipeline);
    let mut swapped = builder.new_input(swapped, Pipeline);
    let (_published, published_stream) = builder.new_output::<Vec<Tick>>();
    builder.build(move |_| {
        let mut waiting: BTreeMap<u64, Vec<SavedFile>> = BTreeMap::new();
        let mut barriers = Pending::default();
        let mut publishing = BTreeMap::new();
        let mut swaps: BTreeSet<u64> = BTreeSet::new();
        move |frontiers| {
            ticks.for_each(|capability, ticks| {
                if let Some(tick) = ticks.first().filter(|_| worker == 0 && BatchId::of_stamp(*capability.time()).1) {
                    barriers.insert(*capability.time(), (*tick, Some(capability.retain(0))));
                }
            });
            written.for_each(|capability, written| {
                let files = written.drain(..).map(|written| (written.table, written.file));
                waiting.entry(*capability.time()).or_default().extend(files);
            });
            committed.for_each(|_, _| {});
            swapped.for_each(|capability, _| {
                swaps.insert(*capability.time());
            });
            barriers.each_complete(frontiers, &failure, |stamp, (tick, capability)| {
                publishing.insert(stamp, capability.take());
                let files = waiting.remove(&stamp).unwrap_or_default();
                let (batch, swap) = (BatchId::of_stamp(stamp).0, swaps.remove(&stamp));
                let done = done.clone();
                let published = PublishedCheckpoint { batch, time: tick.time, files, swap, leftover: tick.leftover };
                writer.publish(published, move || done.complete(stamp, ()));
                Ok(())
            });
            for (stamp, ()) in done.take() {
                publishing.remove(&stamp);
            }
        }
    });
    published_stream
}

/// Notifies the receivers of this process that a checkpoint is published, when `published` has passed its barrier. Returns a stream that has passed
/// it then.
pub fn notify_receivers<'s>(
    ticks: Ticks<'s>,
    published: Ticks<'s>,
    worker: usize,
    running: &Arc<Running>,
) -> Ticks<'s> {
    let mut builder = OperatorBuilder::new("notify receivers".to_owned(), ticks.scope());
    let (running, failure) = (running.clone(), running.failure.clone());
    let mut ticks = builder.new_input(ticks, Pipeline);
    let mut published = builder.new_input(published, Pipeline);
    let (_told, told_stream) = builder.new_output::<Vec<Tick>>();
    builder.build(move |_| {
        let mut barriers = Pending::default();
        move |frontiers| {
            ticks.for_each(|capability, _| {
                if worker == running.threads.first && BatchId::of_stamp(*capability.time()).1 {
                    barriers.insert(*capability.time(), capability.retain(0));
                }
            });
            published.for_each(|_, _| {});
            barriers.each_complete(frontiers, &failure, |stamp, _| {
                let after = BatchId::of_stamp(stamp).0;
                running.metrics.progressed(after);
                running.endpoints.inboxes.iter().flatten().for_each(|inbox| inbox.checkpoint_is_published(after));
                Ok(())
            });
        }
    });
    told_stream
}
