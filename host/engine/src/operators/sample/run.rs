//! Samples rows by their index in the batch. So a replayed batch has the same sample. The number of workers does not matter either: it may change the
//! parts, but not the rows and their order.

use crate::operators::context::{BuildContext, StageStreams};
use crate::operators::simple::with_rows;
use crate::operators::stage::StageNode;
use crate::timely_ext::{Output, Parts, each_batch, each_part};
use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, UInt64Array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::UInt64Type;
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_base::ids::{BatchId, PartOrder};
use millstream_rows::batch::part::Part;
use std::collections::BTreeMap;
use std::sync::Arc;
use timely::dataflow::operators::Concat;
use timely::dataflow::operators::vec::Map;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Input number of parts that report how many rows another part has.
const COUNT: u32 = 1;

/// Builds the stage. A row passes if its hash is less than `below`.
pub fn build<'s>(stage: &StageNode, below: u128, parts: Parts<'s>, build: &BuildContext<'s, '_>) -> StageStreams<'s> {
    let (failure, index, peers) = (build.failure.clone(), build.index as u64, build.peers as u64);
    let name = format!("{} count", stage.name);
    let (counts, _) = each_part(parts.clone(), &name, failure.clone(), move |_, part, output| {
        let rows = count(part.rows.num_rows())?;
        output.rows.extend((0..peers).map(|to| Part { to, input: COUNT, ..with_rows(&part, rows.clone()) }));
        Ok(())
    });
    let parts = parts.map(move |part: Part| Part { to: index, ..part }).concat(counts);
    let (name, metrics) = (stage.name.clone(), build.metrics.counts(&stage.name));
    let work = move |context: BatchContext, parts: Vec<Part>, output: &mut Output| {
        let starts = starts(&parts)?;
        for part in parts.iter().filter(|part| part.input != COUNT) {
            let start = starts.get(&part.order).copied().unwrap_or_default();
            let chosen = sampled_rows(&name, context.id, start, part.rows.num_rows(), below);
            let kept = filter_record_batch(&part.rows, &chosen).map_err(Error::arrow)?;
            metrics.add_rows(kept.num_rows());
            if kept.num_rows() > 0 {
                output.rows.push(with_rows(part, kept));
            }
        }
        Ok(())
    };
    let (rows, rejected) = each_batch(parts, build.ticks.clone(), &stage.name, failure, |part| part.to, work);
    StageStreams::new(rows, rejected)
}

fn count(rows: usize) -> Result<RecordBatch> {
    let count: ArrayRef = Arc::new(UInt64Array::from(vec![rows as u64]));
    RecordBatch::try_from_iter([("count", count)]).map_err(Error::arrow)
}

/// Returns the index of each part's first row in the batch; `parts` are in order.
fn starts(parts: &[Part]) -> Result<BTreeMap<PartOrder, u64>> {
    let (mut starts, mut start) = (BTreeMap::new(), 0_u64);
    for part in parts.iter().filter(|part| part.input == COUNT) {
        let counts = part.rows.columns().first().and_then(|column| column.as_primitive_opt::<UInt64Type>());
        let count =
            counts.and_then(|counts| counts.values().first()).ok_or_else(|| Error::bug("a part without a count"))?;
        starts.insert(part.order.clone(), start);
        start = start.saturating_add(*count);
    }
    Ok(starts)
}

/// Returns which of these rows are sampled, by stage, batch and index in the batch.
fn sampled_rows(stage: &str, batch: BatchId, start: u64, rows: usize, below: u128) -> BooleanArray {
    let seed = xxh3_64_with_seed(stage.as_bytes(), batch.0);
    let chosen = |row: u64| u128::from(xxh3_64_with_seed(&start.wrapping_add(row).to_le_bytes(), seed)) < below;
    (0..rows as u64).map(|row| Some(chosen(row))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_kept_and_depends_on_stage_batch_and_place_only() {
        let tenth = u128::from(u64::MAX / 10);
        let of = |stage: &str, batch, start| sampled_rows(stage, BatchId(batch), start, 10_000, tenth);
        let first = of("a", 1, 0);
        assert!((900..1100).contains(&first.true_count()), "{}", first.true_count());
        assert_eq!(first.slice(6_000, 4_000), of("a", 1, 6_000).slice(0, 4_000), "however rows fall into parts");
        for other in [of("b", 1, 0), of("a", 2, 0), of("a", 1, 10_000)] {
            assert!((900..1100).contains(&other.true_count()), "{}", other.true_count());
            assert_ne!(first, other);
        }
        assert_eq!(sampled_rows("a", BatchId(1), 0, 10_000, 0).true_count(), 0);
        assert_eq!(sampled_rows("a", BatchId(1), 0, 10_000, 1 << 64).true_count(), 10_000);
    }
}
