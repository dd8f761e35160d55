//! Rows on their way to the worker that owns their key.

use crate::exchange::{by_key_group, parts_of, split_by_key};
use crate::operators::context::BuildContext;
use crate::operators::stage::StageNode;
use crate::timely_ext::{Output, Parts, each_batch, each_part};
use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::concat_batches;
use millstream_base::batch::keys::{KeyHash, Keys};
use millstream_base::batch::part::Part;
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_base::ids::{ClockId, PartOrder};
use std::collections::BTreeMap;
use timely::dataflow::operators::Exchange;

/// Brings rows to the worker that owns their key, where the stage has one. The rows of a part come out in the order of
/// their key groups, so that what the workers make of them stands in the same order however many workers there are.
pub fn by_key<'s>(stage: &StageNode, input: Parts<'s>, build: &BuildContext<'s, '_>) -> Parts<'s> {
    if stage.key.is_empty() {
        return input;
    }
    let (key, failure) = (stage.key.clone(), build.failure.clone());
    let (grouped, _) = each_part(input, &format!("{} group", stage.name), failure.clone(), move |_, part, output| {
        let rows = by_key_group(&part.rows, &hashes(&key, &part.rows)?).map_err(Error::arrow)?;
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

/// The same, of rows whose parts may be others with another number of workers: those of a batch, clock and window become one
/// part, in the order of their key groups as well.
pub fn by_key_in_order<'s>(stage: &StageNode, input: Parts<'s>, build: &BuildContext<'s, '_>) -> Parts<'s> {
    if stage.key.is_empty() || places_are_fixed(stage, build) {
        return by_key(stage, input, build);
    }
    in_order(stage, split_parts(stage, input, build), build)
}

/// The same, of rows in which it stands already where they go; without a key, they only go there.
pub fn moved_in_order<'s>(stage: &StageNode, input: Parts<'s>, build: &BuildContext<'s, '_>) -> Parts<'s> {
    if stage.key.is_empty() || places_are_fixed(stage, build) {
        return input.exchange(|part: &Part| part.to);
    }
    in_order(stage, input, build)
}

fn places_are_fixed(stage: &StageNode, build: &BuildContext<'_, '_>) -> bool {
    stage.inputs.iter().all(|input| build.graph.places_are_fixed(&input.from))
}

/// Makes one part of those of a batch, clock and window, where they go.
fn in_order<'s>(stage: &StageNode, input: Parts<'s>, build: &BuildContext<'s, '_>) -> Parts<'s> {
    let (key, index) = (stage.key.clone(), build.index as u64);
    let work = move |context: BatchContext, parts: Vec<Part>, output: &mut Output| {
        for part in together(&key, index, parts)? {
            (output.clock_id, output.input) = (part.clock_id, part.input);
            output.push(context, part.order, part.rows);
        }
        Ok(())
    };
    let (name, failure) = (format!("{} gather", stage.name), build.failure.clone());
    each_batch(input, build.ticks.clone(), &name, failure, |part| part.to, work).0
}

/// One part for each clock, window and input of these, with the rows in the order of their key groups. `worker`: this one.
pub fn together(key: &[usize], worker: u64, parts: Vec<Part>) -> Result<Vec<Part>> {
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
            by_key_group(&rows, &hashes(key, &rows)?).map_err(Error::arrow)
        };
        Some(all().map(|rows| Part { order, rows, ..first.clone() }))
    };
    together.into_iter().filter_map(one).collect()
}

/// The hashes of the keys in these columns.
pub fn hashes(key: &[usize], rows: &RecordBatch) -> Result<Vec<KeyHash>> {
    Ok(keys(key, rows)?.hashes())
}

/// The keys in these columns.
pub fn keys(key: &[usize], rows: &RecordBatch) -> Result<Keys> {
    let columns: Vec<ArrayRef> = key.iter().map(|key| rows.column(*key).clone()).collect();
    Keys::encode(&columns, rows.num_rows()).map_err(Error::arrow)
}

/// Splits parts by key; where a part goes stands in it.
pub fn split_parts<'s>(stage: &StageNode, input: Parts<'s>, build: &BuildContext<'s, '_>) -> Parts<'s> {
    split_marked(stage, input, build, |_| Ok(()))
}

/// The same, after something was noted in each part.
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
