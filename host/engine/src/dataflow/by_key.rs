//! Rows on their way to the worker that owns their key.

use super::stages::BuildContext;
use crate::batch::keys::{KeyHash, Keys};
use crate::batch::part::Part;
use crate::error::{Error, Result};
use crate::exchange::{by_key_group, parts_of, split_by_key};
use crate::graph::StageNode;
use crate::timely_ext::{Parts, each_part};
use arrow::array::{ArrayRef, RecordBatch};
use timely::dataflow::operators::Exchange;

/// Brings rows to the worker that owns their key, where the stage has one. The rows of a part come out in the order of
/// their key groups, so that what the workers make of them stands in the same order however many workers there are.
pub fn by_key<'s>(stage: &StageNode, input: Parts<'s>, build: &BuildContext<'s, '_>) -> Parts<'s> {
    if stage.key.is_empty() {
        return input;
    }
    let (key, failure) = (stage.key.clone(), build.running.failure.clone());
    let (grouped, _) = each_part(input, &format!("{} group", stage.name), failure.clone(), move |_, part, output| {
        let rows = by_key_group(&part.rows, &hashes(&key, &part.rows)?).map_err(Error::arrow)?;
        output.rows.push(Part { rows, ..part });
        Ok(())
    });
    if build.peers == 1 {
        return grouped;
    }
    let (split, _) = split_parts(stage, grouped, build);
    let index = build.index as u64;
    let moved = split.exchange(|part: &Part| part.to);
    let (ordered, _) = each_part(moved, &format!("{} order", stage.name), failure, move |context, part, output| {
        output.push(context, part.order.then(index), part.rows);
        Ok(())
    });
    ordered
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
pub fn split_parts<'s>(stage: &StageNode, input: Parts<'s>, build: &BuildContext<'s, '_>) -> (Parts<'s>, Parts<'s>) {
    let (key, peers) = (stage.key.clone(), build.peers);
    each_part(input, &format!("{} by key", stage.name), build.running.failure.clone(), move |_, part, output| {
        let split = split_by_key(&part.rows, &hashes(&key, &part.rows)?, peers).map_err(Error::arrow)?;
        output.rows.extend(parts_of(split, &part));
        Ok(())
    })
}
