//! The first rows in an order: first those of each part, so that few are sent, then those of all parts.

use crate::operators::by_key::split_parts;
use crate::operators::context::{BuildContext, StageStreams};
use crate::operators::simple::with_rows;
use crate::operators::stage::StageNode;
use crate::timely_ext::{Output, Parts, each_batch, each_part};
use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt32Array, make_comparator};
use arrow::compute::{SortOptions, concat_batches, take_record_batch};
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_base::ids::PartOrder;
use millstream_rows::batch::group::{Grouped, Grouper};
use millstream_rows::batch::keys::{Keys, canonical_column};
use millstream_rows::batch::part::Part;
use std::cmp::Ordering;

/// The order by which a stage takes the first rows.
#[derive(Clone)]
pub struct RowOrder {
    /// Number of rows per window and key.
    pub n: usize,
    /// The column.
    pub by: usize,
    /// Smallest first.
    pub ascending: bool,
    /// Start and end of the window, if rows have them.
    pub bounds: Option<(usize, usize)>,
}

/// Builds the stage: on the workers that own the keys, or on worker 0.
pub fn build<'s>(
    stage: &StageNode,
    order: RowOrder,
    parts: Parts<'s>,
    build: &BuildContext<'s, '_>,
) -> StageStreams<'s> {
    let (failure, worker) = (build.failure.clone(), build.index as u64);
    let mut chooser = Chooser { order, key: stage.key.clone(), grouper: Grouper::default() };
    let mut local = Chooser { order: chooser.order.clone(), key: chooser.key.clone(), grouper: Grouper::default() };
    let (few, _) = each_part(parts, &format!("{} of a part", stage.name), failure.clone(), move |_, part, output| {
        if part.rows.num_rows() <= local.order.n {
            output.rows.push(part);
            return Ok(());
        }
        // In the order of arrival, which decides between equal rows.
        let mut rows: Vec<u32> = local.choose(&part.rows)?.into_iter().flat_map(|group| group.rows).collect();
        rows.sort_unstable();
        let rows = take_record_batch(&part.rows, &UInt32Array::from(rows)).map_err(Error::arrow)?;
        output.rows.push(with_rows(&part, rows));
        Ok(())
    });
    let moved = if stage.key.is_empty() { few } else { split_parts(stage, few, build) };
    let keyed = !stage.key.is_empty();
    let metrics = build.metrics.counts(&stage.name);
    let schema = stage.input.clone();
    let work = move |context: BatchContext, parts: Vec<Part>, output: &mut Output| {
        chooser.batch(context, &schema, &parts, worker, output)?;
        metrics.add_rows(output.rows.iter().map(|part| part.rows.num_rows()).sum());
        Ok(())
    };
    let route = move |part: &Part| if keyed { part.to } else { 0 };
    let (rows, rejected) = each_batch(moved, build.ticks.clone(), &stage.name, failure, route, work);
    StageStreams::new(rows, rejected)
}

struct Chooser {
    order: RowOrder,
    key: Vec<usize>,
    grouper: Grouper,
}

/// The first rows of one window and key, in order.
struct FirstRows {
    /// The window's end and start.
    window: Option<(i64, i64)>,
    rows: Vec<u32>,
}

impl Chooser {
    /// Emits the first rows of a batch.
    fn batch(
        &mut self,
        context: BatchContext,
        schema: &SchemaRef,
        parts: &[Part],
        worker: u64,
        output: &mut Output,
    ) -> Result<()> {
        let all = concat_batches(schema, parts.iter().map(|part| &part.rows)).map_err(Error::arrow)?;
        let mut groups = self.choose(&all)?.into_iter().peekable();
        while let Some(FirstRows { window, mut rows }) = groups.next() {
            while let Some(next) = groups.next_if(|next| next.window == window) {
                rows.extend(next.rows);
            }
            let rows = take_record_batch(&all, &UInt32Array::from(rows)).map_err(Error::arrow)?;
            let position = match window {
                None => PartOrder::at(worker),
                Some((end, start)) => PartOrder::at_window(end, start).then(worker),
            };
            output.push(context, position, rows);
        }
        Ok(())
    }

    /// Returns the first rows of each window and key: windows by their end and start, then keys by their hash.
    fn choose(&mut self, rows: &RecordBatch) -> Result<Vec<FirstRows>> {
        let column = canonical_column(rows.column(self.order.by));
        let options = SortOptions { descending: !self.order.ascending, nulls_first: false };
        let compare = make_comparator(&column, &column, options).map_err(Error::arrow)?;
        let (grouped, order) = self.groups(rows)?;
        let mut members: Vec<Vec<u32>> = vec![Vec::new(); grouped.count()];
        for (row, group) in (0u32..).zip(&grouped.of_row) {
            if let Some(members) = members.get_mut(*group) {
                members.push(row);
            }
        }
        let window = |group: usize| {
            let row = *grouped.first_rows.get(group)? as usize;
            let bounds = self.order.bounds?;
            Some((time(rows.column(bounds.1), row)?, time(rows.column(bounds.0), row)?))
        };
        let n = self.order.n;
        let first = |group: u32| {
            let mut rows = members.get_mut(group as usize).map(std::mem::take).unwrap_or_default();
            let in_order = |a: &u32, b: &u32| compare(*a as usize, *b as usize).then_with(|| a.cmp(b));
            if n < rows.len() {
                rows.select_nth_unstable_by(n, in_order);
                rows.truncate(n);
            }
            rows.sort_unstable_by(in_order);
            FirstRows { window: window(group as usize), rows }
        };
        let mut chosen: Vec<FirstRows> = order.into_iter().map(first).collect();
        // Stable: within a window keys stay in the order of their hashes.
        chosen.sort_by(|a, b| if a.window == b.window { Ordering::Equal } else { a.window.cmp(&b.window) });
        Ok(chosen)
    }

    /// Groups rows by window and key, and orders the groups by the hashes of their keys.
    fn groups(&mut self, rows: &RecordBatch) -> Result<(Grouped, Vec<u32>)> {
        let mut columns: Vec<ArrayRef> = self.key.iter().map(|position| rows.column(*position).clone()).collect();
        let keys = Keys::encode(&columns, rows.num_rows()).map_err(Error::arrow)?;
        let bounds = self.order.bounds.map(|(start, end)| [start, end]);
        columns.extend(bounds.into_iter().flatten().map(|position| rows.column(position).clone()));
        if columns.is_empty() {
            return Ok((Grouped::one_group(rows.num_rows()), vec![0]));
        }
        let with_bounds = Keys::encode(&columns, rows.num_rows()).map_err(Error::arrow)?;
        let mut grouped = self.grouper.group(&with_bounds);
        if self.key.is_empty() {
            let order = (0..grouped.count() as u32).collect();
            return Ok((grouped, order));
        }
        let hashes = keys.hashes();
        for (hash, row) in grouped.hashes.iter_mut().zip(&grouped.first_rows) {
            *hash = hashes.get(*row as usize).copied().unwrap_or(*hash);
        }
        let order = grouped.sorted(&keys);
        Ok((grouped, order))
    }
}

fn time(column: &ArrayRef, row: usize) -> Option<i64> {
    Some(column.as_primitive_opt::<TimestampMicrosecondType>()?.value(row))
}
