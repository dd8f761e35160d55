//! Exchange of rows: each row goes to the worker that owns its key.

use crate::exchange::{parts_of, sort_by_key_group, split_by_key};
use crate::operators::context::BuildContext;
use crate::operators::stage::StageNode;
use crate::timely_ext::{Output, Parts, each_batch, each_part};
use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::concat_batches;
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_base::ids::{ClockId, PartOrder};
use millstream_rows::batch::keys::{KeyHash, Keys};
use millstream_rows::batch::part::Part;
use std::collections::BTreeMap;
use timely::dataflow::operators::Exchange;

/// Sends rows to the worker that owns their key, if the stage has a key. The rows of a part are ordered by key group. So the output order does not
/// depend on the number of workers.
pub fn by_key<'s>(stage: &StageNode, input: Parts<'s>, build: &BuildContext<'s, '_>) -> Parts<'s> {
    if stage.key.is_empty() {
        return input;
    }
    let (key, failure) = (stage.key.clone(), build.failure.clone());
    let (grouped, _) = each_part(input, &format!("{} group", stage.name), failure.clone(), move |_, part, output| {
        let rows = sort_by_key_group(&part.rows, &hashes(&key, &part.rows)?).map_err(Error::arrow)?;
        output.rows.push(Part { rows, ..part });
        Ok(())
    });
    if build.peers == 1 {
        return grouped;
    }
    let split = split_parts(stage, grouped, build);
    let index = build.index as u64;
    let moved = split.exchange(|part: &Part| part.to);
    let (ordered, _) = each_part(moved, &format!("{} order", stage.name), failure, move |context, part, output| {
        output.push(context, part.order.then(index), part.rows);
        Ok(())
    });
    ordered
}

/// As [`by_key`], for rows whose parts depend on the number of workers. The parts of a batch, clock and window become one part, ordered by key group
/// too.
pub fn by_key_in_order<'s>(stage: &StageNode, input: Parts<'s>, build: &BuildContext<'s, '_>) -> Parts<'s> {
    if stage.key.is_empty() || order_is_fixed(stage, build) {
        return by_key(stage, input, build);
    }
    in_order(stage, split_parts(stage, input, build), build)
}

/// As [`by_key_in_order`], for rows that already carry their destination; without a key, they are only sent there.
pub fn moved_in_order<'s>(stage: &StageNode, input: Parts<'s>, build: &BuildContext<'s, '_>) -> Parts<'s> {
    if stage.key.is_empty() || order_is_fixed(stage, build) {
        return input.exchange(|part: &Part| part.to);
    }
    in_order(stage, input, build)
}

fn order_is_fixed(stage: &StageNode, build: &BuildContext<'_, '_>) -> bool {
    stage.inputs.iter().all(|input| build.graph.order_is_fixed(&input.from))
}

/// Merges the parts of a batch, clock and window at their destination.
fn in_order<'s>(stage: &StageNode, input: Parts<'s>, build: &BuildContext<'s, '_>) -> Parts<'s> {
    let (key, index) = (stage.key.clone(), build.index as u64);
    let work = move |context: BatchContext, parts: Vec<Part>, output: &mut Output| {
        for part in merge_parts(&key, index, parts)? {
            (output.clock_id, output.input) = (part.clock_id, part.input);
            output.push(context, part.order, part.rows);
        }
        Ok(())
    };
    let (name, failure) = (format!("{} gather", stage.name), build.failure.clone());
    each_batch(input, build.ticks.clone(), &name, failure, |part| part.to, work).0
}

/// Merges parts into one per clock, window and input, with rows ordered by key group. `worker` is this worker.
pub fn merge_parts(key: &[usize], worker: u64, parts: Vec<Part>) -> Result<Vec<Part>> {
    let mut together: BTreeMap<(PartOrder, ClockId, u32), Vec<Part>> = BTreeMap::new();
    for part in parts {
        together.entry((part.order.clone().of_window(), part.clock_id, part.input)).or_default().push(part);
    }
    let one = |((window, clock_id, _), parts): ((PartOrder, ClockId, u32), Vec<Part>)| {
        let first = parts.first()?.clone();
        let order = window.then(clock_id.stream.into()).then(clock_id.partition).then(worker);
        let all = || {
            let rows =
                concat_batches(first.rows.schema_ref(), parts.iter().map(|part| &part.rows)).map_err(Error::arrow)?;
            sort_by_key_group(&rows, &hashes(key, &rows)?).map_err(Error::arrow)
        };
        Some(all().map(|rows| Part { order, rows, ..first.clone() }))
    };
    together.into_iter().filter_map(one).collect()
}

/// Returns the hashes of the keys in these columns.
pub fn hashes(key: &[usize], rows: &RecordBatch) -> Result<Vec<KeyHash>> {
    Ok(keys(key, rows)?.hashes())
}

/// Returns the keys in these columns.
pub fn keys(key: &[usize], rows: &RecordBatch) -> Result<Keys> {
    let columns: Vec<ArrayRef> = key.iter().map(|key| rows.column(*key).clone()).collect();
    Keys::encode(&columns, rows.num_rows()).map_err(Error::arrow)
}

/// Splits parts by key; each part carries its destination.
pub fn split_parts<'s>(stage: &StageNode, input: Parts<'s>, build: &BuildContext<'s, '_>) -> Parts<'s> {
    split_marked(stage, input, build, |_| Ok(()))
}

/// As [`split_parts`], after `mark` annotated each part.
pub fn split_marked<'s>(
    stage: &StageNode,
    input: Parts<'s>,
    build: &BuildContext<'s, '_>,
    mut mark: impl FnMut(&mut Part) -> Result<()> + 'static,
) -> Parts<'s> {
    let (key, peers) = (stage.key.clone(), build.peers);
    let name = format!("{} by key", stage.name);
    let (split, _) = each_part(input, &name, build.failure.clone(), move |_, mut part, output| {
        mark(&mut part)?;
        let split = split_by_key(&part.rows, &hashes(&key, &part.rows)?, peers).map_err(Error::arrow)?;
        output.rows.extend(parts_of(split, &part));
        Ok(())
    });
    split
}
