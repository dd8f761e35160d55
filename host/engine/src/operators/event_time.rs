//! Event time of rows: computed once when they enter the stage, and reported to all workers as progress.

use crate::event_time::node::{EventTimeNode, watermark_table};
use crate::event_time::{EventClock, Lapses, TIME, Watermarks, saved};
use crate::operators::context::BuildContext;
use crate::operators::plugin::current::CurrentPlugin;
use crate::operators::stage::StageNode;
use crate::timely_ext::{Output, Parts, ProgressStream, each_part};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, TimestampMicrosecondArray, new_null_array};
use arrow::compute::{concat, filter_record_batch, max};
use arrow::datatypes::{Field, TimestampMicrosecondType};
use millstream_base::context::{BatchContext, Event, Progress};
use millstream_base::error::{Error, Kind, Result};
use millstream_base::failure::Failure;
use millstream_base::ids::ClockId;
use millstream_base::time::TIME_US_MAX;
use millstream_base::time::microseconds;
use millstream_rows::batch::part::Part;
use millstream_rows::batch::rejected::RejectedRow;
use millstream_rows::batch::types::{ColumnType, with_fields};
use millstream_sql::expression::Expression;
use std::collections::BTreeMap;
use std::sync::Arc;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Concat;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

/// Rows with their time.
pub struct TimedStreams<'s> {
    /// The rows, with [`TIME`] as their last column.
    pub rows: Parts<'s>,
    /// Rows without a valid time.
    pub rejected: Parts<'s>,
    /// One copy per worker.
    pub progress: ProgressStream<'s>,
}

/// Adds the event time to the rows of a stage.
pub fn build<'s>(
    stage: &StageNode,
    node: &EventTimeNode,
    parts: Parts<'s>,
    build: &BuildContext<'s, '_>,
) -> TimedStreams<'s> {
    let current = CurrentPlugin::new(stage, build.versions);
    let mut stamp = Stamp { node: node.clone(), stage: stage.clone(), current };
    let metrics = build.metrics.counts(&stage.name);
    let failure = build.failure.clone();
    let (rows, rejected) = each_part(parts, &format!("{} time", stage.name), failure.clone(), {
        move |context, part, output| {
            let rejected = stamp.part(context, part, output)?;
            metrics.add_rejected(rejected);
            Ok(())
        }
    });
    let progress = progress(rows.clone(), &format!("{} progress", stage.name), build.peers, failure);
    let progress = progress.concat(build.upstream.clone());
    TimedStreams { rows, rejected, progress }
}

/// Returns the progress and the clock of a stage, if it has event time.
pub fn progress_and_clock<'s>(
    stage: &StageNode,
    progress: Option<ProgressStream<'s>>,
    build: &BuildContext<'s, '_>,
) -> Result<Option<(ProgressStream<'s>, EventClock)>> {
    match (progress, &stage.event_time) {
        (Some(progress), Some(node)) => Ok(Some((progress, reporting_clock(stage, node, build)?))),
        _ => Ok(None),
    }
}

/// Returns this worker's clock of a stage; on one worker it also reports notices to users.
pub fn reporting_clock(stage: &StageNode, node: &EventTimeNode, build: &BuildContext<'_, '_>) -> Result<EventClock> {
    let clock = create_clock(stage, node, build)?;
    Ok(if build.index == 0 { clock.with_warning(&stage.name) } else { clock })
}

/// Returns this worker's clock of a stage, from the loaded checkpoint.
pub fn create_clock(stage: &StageNode, node: &EventTimeNode, build: &BuildContext<'_, '_>) -> Result<EventClock> {
    let mut watermarks = Watermarks::new(node.clocks.keys().copied(), node.lateness_us, node.idle_us)
        .with_ends(node.clock_ends.clone(), build.job.at_end)
        .with_holding(node.holding.clone())
        .with_feeds(node.feeds.clone())
        .with_dirs(node.dirs.clone())
        .with_horizon(node.horizon_us);
    let mut lapses = Lapses { interval_us: microseconds(build.job.batch), last: None };
    let checkpoint = build.table_checkpoint(&watermark_table(&stage.name));
    if let Some(checkpoint) = &checkpoint
        && let Some(rows) = checkpoint.load_all()?
    {
        let within = |error: Error| error.within(format!("the checkpoint: stage `{}`", stage.name));
        saved::restore(&mut watermarks, &node.clocks, &rows).map_err(within)?;
        lapses.last = Some(build.last_batch().1);
    }
    Ok(EventClock::new(watermarks, node.clocks.clone(), lapses, checkpoint))
}

/// Times before the year 1 and after the year 9999 are errors.
const TIME_US: std::ops::RangeInclusive<i64> = -62_135_596_800_000_000..=TIME_US_MAX;

struct Stamp {
    node: EventTimeNode,
    stage: StageNode,
    /// The running stage; rejected rows name the plugin that rejected them.
    current: CurrentPlugin,
}

impl Stamp {
    /// Emits the rows with their time, and rejects those without one. Returns the number of rejected rows.
    fn part(&mut self, context: BatchContext, part: Part, output: &mut Output) -> Result<usize> {
        if let Some(stage) = self.current.renewed() {
            self.stage.rejected = stage.rejected.clone();
        }
        let position = part.input as usize;
        let Some(time) = self.node.times.get(position) else { return Err(Error::bug("a part of an unknown input")) };
        let mut failed = BTreeMap::new();
        let times = times_of(time, context, &part.rows, 0, &mut failed)?;
        let values = times.as_primitive_opt::<TimestampMicrosecondType>();
        let values = values.ok_or_else(|| Error::bug("times that are not timestamps"))?;
        let latest = self.node.ahead_us_max.map_or(i64::MAX, |ahead| context.time.0.saturating_add(ahead));
        let good =
            |row: usize| values.is_valid(row) && TIME_US.contains(&values.value(row)) && values.value(row) <= latest;
        let bad: Vec<RejectedRow> = (0..values.len())
            .filter(|row| !good(*row))
            .map(|row| {
                let reason = failed.remove(&row).unwrap_or_else(|| self.reason(values, row, latest));
                RejectedRow::new(row as u32, reason)
            })
            .collect();
        let field = Field::new(TIME, ColumnType::Timestamp.arrow(), false);
        let schema = with_fields(part.rows.schema_ref(), [Arc::new(field)]);
        let rejections = bad.len();
        let stamped = |rows: &RecordBatch, times| {
            RecordBatch::try_new(schema.clone(), rows.columns().iter().cloned().chain([times]).collect())
        };
        if bad.is_empty() {
            output.push(context, part.order, stamped(&part.rows, times).map_err(Error::arrow)?);
            return Ok(0);
        }
        let keep: BooleanArray = (0..values.len()).map(|row| Some(good(row))).collect();
        let kept = filter_record_batch(&part.rows, &keep).map_err(Error::arrow)?;
        let kept_times = arrow::compute::filter(&times, &keep).map_err(Error::arrow)?;
        output.push(context, part.order.clone(), stamped(&kept, kept_times).map_err(Error::arrow)?);
        let input = self.stage.inputs.get(position).map_or("", |input| &input.name);
        let rejected = self.stage.rejected.rows(context.id, input, &part.rows, &bad)?;
        // Parts of several inputs may have the same order.
        output.reject(context, part.order.then(u64::from(part.input)), rejected);
        Ok(rejections)
    }

    fn reason(&self, values: &TimestampMicrosecondArray, row: usize, latest: i64) -> String {
        if values.is_null(row) {
            return "its time is null".into();
        }
        let time = values.value(row);
        if TIME_US.contains(&time) && time > latest {
            return "its time is too far in the future; raise `ahead_max` if it is right".into();
        }
        format!("its time, {time} microseconds since 1970, is not between the years 1 and 9999")
    }
}

/// Removes the last column of a part: the times of its rows.
pub fn take_times(part: &Part) -> Result<(RecordBatch, TimestampMicrosecondArray)> {
    let columns: Vec<usize> = (0..part.rows.num_columns().saturating_sub(1)).collect();
    let times = part.rows.columns().last().and_then(|times| times.as_primitive_opt::<TimestampMicrosecondType>());
    let times = times.cloned().ok_or_else(|| Error::bug("rows without their time"))?;
    Ok((part.rows.project(&columns).map_err(Error::arrow)?, times))
}

/// Removes the times of a part's rows.
pub fn without_time(part: Part) -> Result<Part> {
    let (rows, _) = take_times(&part)?;
    Ok(Part { rows, ..part })
}

/// Computes the times of rows. A time is null if it cannot be computed: a number is out of range, or a string is not a time. `failed` then has the
/// reasons, by index from `first` on. One bad row does not affect the others.
fn times_of(
    time: &Expression,
    context: BatchContext,
    rows: &RecordBatch,
    first: usize,
    failed: &mut BTreeMap<usize, String>,
) -> Result<ArrayRef> {
    let error = match time.evaluate(context, rows) {
        Err(error) if matches!(error.kind, Kind::Plugin | Kind::TooLarge) && rows.num_rows() > 0 => error,
        other => return other,
    };
    if rows.num_rows() == 1 {
        let why = error.message.strip_prefix(&format!("batch {}: ", context.id)).unwrap_or(&error.message);
        failed.insert(first, why.into());
        return Ok(new_null_array(time.data_type(), 1));
    }
    // In halves, so that few bad rows among many cost little.
    let half = rows.num_rows() / 2;
    let left = times_of(time, context, &rows.slice(0, half), first, failed)?;
    let right = times_of(time, context, &rows.slice(half, rows.num_rows() - half), first + half, failed)?;
    concat(&[&left, &right]).map_err(Error::arrow)
}

/// Sends the greatest time of each part to every worker.
fn progress<'s>(parts: Parts<'s>, name: &str, peers: usize, failure: Failure) -> ProgressStream<'s> {
    let mut builder = OperatorBuilder::new(name.to_owned(), parts.scope());
    let mut input = builder.new_input(parts, Pipeline);
    let (output, stream) = builder.new_output::<Vec<Progress>>();
    let mut output = OutputBuilder::<u64, CapacityContainerBuilder<Vec<Progress>>>::from(output);
    builder.build(move |_| {
        move |_| {
            input.for_each(|capability, parts| {
                let mut made = Vec::new();
                for part in parts.drain(..).filter(|_| !failure.happened()) {
                    if part.clock_id == ClockId::NONE {
                        continue;
                    }
                    let times = part.rows.column(part.rows.num_columns().saturating_sub(1)).clone();
                    let Some(max_us) = times.as_primitive_opt::<TimestampMicrosecondType>().and_then(max) else {
                        continue;
                    };
                    let what = Event::Time { clock_id: part.clock_id, max_us };
                    made.extend((0..peers as u64).map(|to| Progress { to, what }));
                }
                output.activate().session(&capability).give_iterator(made.into_iter());
            });
        }
    });
    stream
}
