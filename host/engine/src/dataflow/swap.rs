//! Replaces a plugin by its next version between two batches, in all processes or in none.
//!
//! Worker 0 begins nothing after the barrier of a swap until everything up to it is done, see [`crate::worker`]. So when a barrier has been passed
//! here, nothing is in flight, and the new version runs from the next batch on, on every worker.

use crate::running::Running;
use crate::timely_ext::{Parts, Pending, Ticks};
use millstream_base::context::Tick;
use millstream_base::ids::BatchId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

/// Why a process cannot replace the plugin.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct ReplacementObjection {
    /// The worker that this copy is for: the first of its process.
    to: u64,
    why: String,
}

/// Builds both steps. `committed` has passed a barrier when all batches before it are committed, on all workers. The returned stream has, on worker
/// 0, a tick for each barrier after which a plugin was replaced.
pub fn build<'s>(ticks: &Ticks<'s>, committed: Parts<'s>, worker: (usize, usize), running: &Arc<Running>) -> Ticks<'s> {
    let objections = object(ticks.clone(), committed, worker, running.clone());
    replace(ticks.clone(), objections, worker.0, running.clone())
}

/// Returns the upgrade of a barrier, whether its plugin is swapped in or runs in a shadow.
fn upgrade_of(tick: &Tick) -> Option<u64> {
    tick.swap.or(tick.shadow.map(|(id, _)| id))
}

/// On the first worker of each process: sends its objection to the swap to all processes. No message means agreement.
fn object<'s>(
    ticks: Ticks<'s>,
    committed: Parts<'s>,
    (index, peers): (usize, usize),
    running: Arc<Running>,
) -> Stream<'s, u64, Vec<ReplacementObjection>> {
    let mut builder = OperatorBuilder::new("object".to_owned(), ticks.scope());
    let mut ticks = builder.new_input(ticks, Pipeline);
    let mut committed = builder.new_input(committed, Pipeline);
    let (objections, stream) = builder.new_output::<Vec<ReplacementObjection>>();
    let mut objections = OutputBuilder::<u64, CapacityContainerBuilder<Vec<ReplacementObjection>>>::from(objections);
    builder.build(move |_| {
        let mut swaps = Pending::default();
        move |frontiers| {
            committed.for_each(|_, _| {});
            ticks.for_each(|capability, ticks| {
                if let Some(id) = ticks.first().and_then(upgrade_of).filter(|_| index == running.threads.first) {
                    swaps.insert(*capability.time(), (id, capability.retain(0)));
                }
            });
            swaps.each_complete(frontiers, &running.failure, |_, (id, capability)| {
                let why = running.plugins.upgrades.objection(*id);
                let firsts = (0..peers as u64).step_by(running.threads.count.max(1));
                let copies =
                    why.iter().flat_map(|why| firsts.clone().map(|to| ReplacementObjection { to, why: why.clone() }));
                objections.activate().session(capability).give_iterator(copies);
                Ok(())
            });
        }
    });
    stream
}

/// Replaces the plugin if no process objects: the first worker of each process does it for all of them.
fn replace<'s>(
    ticks: Ticks<'s>,
    objections: Stream<'s, u64, Vec<ReplacementObjection>>,
    index: usize,
    running: Arc<Running>,
) -> Ticks<'s> {
    let mut builder = OperatorBuilder::new("replace".to_owned(), ticks.scope());
    let mut ticks = builder.new_input(ticks, Pipeline);
    let mut objections = builder.new_input(objections, Exchange::new(|objection: &ReplacementObjection| objection.to));
    let (swapped, swapped_stream) = builder.new_output::<Vec<Tick>>();
    let mut swapped = OutputBuilder::<u64, CapacityContainerBuilder<Vec<Tick>>>::from(swapped);
    builder.build(move |_| {
        let mut swaps = Pending::default();
        let mut objection_at: BTreeMap<u64, String> = BTreeMap::new();
        move |frontiers| {
            ticks.for_each(|capability, ticks| {
                if let Some(tick) = ticks.first().filter(|_| index == running.threads.first)
                    && let Some(id) = upgrade_of(tick)
                {
                    swaps.insert(*capability.time(), (id, *tick, capability.retain(0)));
                }
            });
            objections.for_each(|capability, objections| {
                for objection in objections.drain(..) {
                    objection_at.entry(*capability.time()).or_insert(objection.why);
                }
            });
            swaps.each_complete(frontiers, &running.failure, |stamp, (id, tick, capability)| {
                let objection = objection_at.remove(&stamp);
                let done = objection.is_none() && tick.swap.is_some() && index == 0;
                let after = BatchId::of_stamp(stamp).0;
                let upgrades = &running.plugins.upgrades;
                match tick.shadow {
                    Some((_, batches)) => upgrades.start_shadow(*id, after.next(), batches, objection),
                    None => upgrades.apply_decision(*id, objection)?,
                }
                if index > 0 {
                    // Worker 0 knows when all of it is done.
                    let _ = upgrades.complete(*id, after, Duration::ZERO);
                }
                swapped.activate().session(capability).give_iterator(done.then_some(*tick).into_iter());
                Ok(())
            });
        }
    });
    swapped_stream
}
