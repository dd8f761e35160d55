//! A share of the rows, chosen by where they stand: the same ones whenever the batch is run again.

use super::with_rows;
use crate::batch::part::Part;
use crate::dataflow::stages::{At, StageStreams};
use crate::error::Error;
use crate::graph::StageNode;
use crate::ids::BatchId;
use crate::timely_ext::{Parts, each_part};
use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Builds the stage. A row stays where its hash is less than `below`.
pub fn build<'s>(stage: &StageNode, below: u128, parts: Parts<'s>, at: &At<'s, '_>) -> StageStreams<'s> {
    let metrics = at.running.metrics.of(&stage.name);
    let name = stage.name.clone();
    let (rows, rejected) = each_part(parts, &stage.name, at.running.failure.clone(), move |context, part, output| {
        let kept = filter_record_batch(&part.rows, &chosen(&name, context.id, &part, below)).map_err(Error::arrow)?;
        metrics.add_rows(kept.num_rows());
        if kept.num_rows() > 0 {
            output.rows.push(with_rows(&part, kept));
        }
        Ok(())
    });
    StageStreams::of(rows, rejected)
}

/// Which rows of a part are chosen, by stage, batch, place of the part and place in the part.
fn chosen(stage: &str, batch: BatchId, part: &Part, below: u128) -> BooleanArray {
    let mut seed = xxh3_64_with_seed(stage.as_bytes(), batch.0);
    for place in part.order.places() {
        seed = xxh3_64_with_seed(&place.to_le_bytes(), seed);
    }
    let chosen = |row: usize| u128::from(xxh3_64_with_seed(&(row as u64).to_le_bytes(), seed)) < below;
    (0..part.rows.num_rows()).map(|row| Some(chosen(row))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{BatchTime, ClockId, PartOrder};
    use arrow::array::{Int64Array, RecordBatch};
    use std::sync::Arc;

    fn part(place: u64) -> Part {
        let values = Arc::new(Int64Array::from_iter_values(0..10_000));
        let rows = RecordBatch::try_from_iter([("v", values as _)]).unwrap();
        Part { to: 0, order: PartOrder::at(place), clock_id: ClockId(0), input: 0, time: BatchTime(0), rows }
    }

    #[test]
    fn a_share_is_kept_and_depends_on_stage_batch_and_place_only() {
        let tenth = u128::from(u64::MAX / 10);
        let of = |stage: &str, batch, place| chosen(stage, BatchId(batch), &part(place), tenth);
        let first = of("a", 1, 0);
        assert!((900..1100).contains(&first.true_count()), "{}", first.true_count());
        assert_eq!(first, of("a", 1, 0));
        for other in [of("b", 1, 0), of("a", 2, 0), of("a", 1, 1)] {
            assert!((900..1100).contains(&other.true_count()), "{}", other.true_count());
            assert_ne!(first, other);
        }
        assert_eq!(chosen("a", BatchId(1), &part(0), 0).true_count(), 0);
        assert_eq!(chosen("a", BatchId(1), &part(0), 1 << 64).true_count(), 10_000);
    }
}
