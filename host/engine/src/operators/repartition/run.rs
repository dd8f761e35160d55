//! Distributes rows over the workers, by key or in turn. The destination does not affect the order. Blocks stay in the order of arrival. Rows
//! distributed by key are ordered by key group, part by part.

use crate::exchange::{sort_by_key_group, split_by_key};
use crate::operators::by_key::{hashes, moved_in_order};
use crate::operators::context::{BuildContext, StageStreams};
use crate::operators::simple::with_rows;
use crate::operators::stage::StageNode;
use crate::timely_ext::{Parts, each_part};
use millstream_base::error::Error;
use millstream_rows::batch::part::Part;

/// Rows that go to one partition together. A part is spread over many workers, and blocks do not depend on the number of workers.
const BLOCK_ROWS: usize = 1024;

/// Builds the stage. Partition p goes to worker p × workers / partitions.
pub fn build<'s>(
    stage: &StageNode,
    partitions: Option<u32>,
    parts: Parts<'s>,
    build: &BuildContext<'s, '_>,
) -> StageStreams<'s> {
    let metrics = build.metrics.counts(&stage.name);
    let (key, peers) = (stage.key.clone(), build.peers);
    let partitions = partitions.map_or(peers, |partitions| partitions as usize).max(1);
    let worker = move |partition: u64| (partition as usize).saturating_mul(peers) as u64 / partitions as u64;
    let (rows, rejected) = each_part(parts, &stage.name, build.failure.clone(), move |_, part, output| {
        metrics.add_rows(part.rows.num_rows());
        if key.is_empty() {
            output
                .rows
                .extend(blocks(&part, partitions).map(|(partition, part)| Part { to: worker(partition), ..part }));
            return Ok(());
        }
        let rows = sort_by_key_group(&part.rows, &hashes(&key, &part.rows)?).map_err(Error::arrow)?;
        for (partition, rows) in split_by_key(&rows, &hashes(&key, &rows)?, partitions).map_err(Error::arrow)? {
            let order = part.order.clone().then(partition);
            output.rows.push(Part { to: worker(partition), order, ..with_rows(&part, rows) });
        }
        Ok(())
    });
    StageStreams::new(moved_in_order(stage, rows, build), rejected)
}

/// Splits a part into blocks with their partitions, in turn, with another first partition in every part.
fn blocks(part: &Part, partitions: usize) -> impl Iterator<Item = (u64, Part)> {
    let rows = part.rows.num_rows();
    let first = part.order.elements().iter().fold(0_u64, |sum, index| sum.wrapping_add(*index));
    (0u64..).zip((0..rows).step_by(BLOCK_ROWS)).map(move |(block, start)| {
        let rows = part.rows.slice(start, BLOCK_ROWS.min(rows - start));
        let partition = first.wrapping_add(block) % partitions as u64;
        (partition, Part { order: part.order.clone().then(block), ..with_rows(part, rows) })
    })
}
