//! Limits of memory and time for a query or expression, and its cancellation. They are checked whenever rows pass from one step to the next, and
//! whenever a function is called.

use crate::limits::{SQL_PLAN_BYTES_MAX, SQL_PLAN_MS_MAX, SQL_STOP_MS};
use arrow::array::{Array, AsArray, RecordBatch};
use datafusion::common::{DataFusionError, Result};
use millstream_base::memory;
use millstream_base::panics::caught;
use millstream_job::spec::SqlLimits;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::time::{Duration, Instant};

/// The remaining budget.
#[derive(Clone, Copy)]
struct Budget {
    limits: SqlLimits,
    began: Instant,
    /// When the job was first seen stopping.
    stopping: Option<Instant>,
    /// Bytes that aggregates over window frames have emitted.
    emitted: u64,
}

thread_local! {
    static BUDGET: Cell<Option<Budget>> = const { Cell::new(None) };
    /// Checks whether this thread's job is stopping.
    static STOPPING: RefCell<Option<Box<dyn Fn() -> bool>>> = const { RefCell::new(None) };
}

/// The message about an exceeded budget.
#[derive(Debug)]
pub struct BudgetExceeded {
    message: String,
    stopped: bool,
}

impl fmt::Display for BudgetExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for BudgetExceeded {}

/// Sets the check by which this thread learns that its job is stopping.
pub fn of_job(stopping: impl Fn() -> bool + 'static) {
    STOPPING.set(Some(Box::new(stopping)));
}

/// Runs `work` within limits. A panic of a library becomes an error.
pub fn run_within<T>(limits: SqlLimits, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = BUDGET.replace(Some(Budget { limits, began: Instant::now(), stopping: None, emitted: 0 }));
    let done = caught(work);
    BUDGET.set(before);
    done.unwrap_or_else(|message| Err(panicked(None, &message)))
}

/// Plans within the limits of planning.
pub fn while_planning<T>(plan: impl FnOnce() -> T) -> T {
    let limits = SqlLimits { memory_bytes_max: SQL_PLAN_BYTES_MAX, time_max: Duration::from_millis(SQL_PLAN_MS_MAX) };
    let before = BUDGET.replace(Some(Budget { limits, began: Instant::now(), stopping: None, emitted: 0 }));
    let done = plan();
    BUDGET.set(before);
    done
}

/// Returns the error for a panic of a library, in this function if known.
pub fn panicked(function: Option<&str>, message: &str) -> DataFusionError {
    let what = function.map_or("a function".to_owned(), |name| format!("`{name}`"));
    let message = message.lines().next().unwrap_or_default();
    DataFusionError::Execution(format!("{what} does not accept these values: its library failed ({message})"))
}

/// Returns the maximum bytes of one value, part or list of rows.
pub fn bytes_max() -> u64 {
    BUDGET.get().map_or(SQL_PLAN_BYTES_MAX, |budget| budget.limits.memory_bytes_max)
}

/// Fails if the time is over, if the job has been stopping for too long, or if the job has no memory left.
pub fn check() -> Result<()> {
    memory::check().map_err(|error| DataFusionError::External(Box::new(error)))?;
    let Some(mut budget) = BUDGET.get() else { return Ok(()) };
    let limit = budget.limits.time_max;
    if !limit.is_zero() && budget.began.elapsed() > limit {
        let message = format!(
            "it takes longer than {} s; simplify it, use smaller batches, or raise `limits.time`",
            limit.as_secs_f64()
        );
        return Err(used_up(message, false));
    }
    let stopping = || STOPPING.with_borrow(|stopping| stopping.as_ref().is_some_and(|stopping| stopping()));
    if budget.stopping.is_none() && stopping() {
        budget.stopping = Some(Instant::now());
        BUDGET.set(Some(budget));
    }
    match budget.stopping {
        Some(since) if since.elapsed() > Duration::from_millis(SQL_STOP_MS) => {
            let seconds = SQL_STOP_MS / 1000;
            let message = format!(
                "the job is stopping, and it was still running {seconds} s later; nothing of this batch is committed"
            );
            Err(used_up(message, true))
        }
        _ => Ok(()),
    }
}

/// Fails if `bytes` exceed the limit; `what` would produce them.
pub fn allow(what: &str, bytes: u64) -> Result<()> {
    if bytes > bytes_max() { Err(too_much(what, bytes)) } else { Ok(()) }
}

/// Returns the error for a function that would produce too many bytes.
pub fn too_much(what: &str, bytes: u64) -> DataFusionError {
    let (bytes, max) = (format_bytes(bytes), format_bytes(bytes_max()));
    used_up(
        format!("{what} would produce {bytes}, but the maximum is {max}; produce less, or raise `limits.memory`"),
        false,
    )
}

/// Returns the message for rows that do not fit.
pub fn memory_message(bytes_max: u64) -> String {
    let max = format_bytes(bytes_max);
    format!("its rows need more memory than {max}; produce fewer rows, or raise `limits.memory`")
}

/// Counts the output of aggregates over window frames; all of it is held until the query is done.
pub fn count_output(bytes: usize) -> Result<()> {
    check()?;
    let Some(mut budget) = BUDGET.get() else { return Ok(()) };
    budget.emitted = budget.emitted.saturating_add(bytes as u64);
    BUDGET.set(Some(budget));
    allow("an aggregate", budget.emitted)
}

/// Returns whether the error says that the job stopped.
pub fn is_stop(error: &DataFusionError) -> bool {
    match error.find_root() {
        DataFusionError::External(inner) => inner.downcast_ref::<BudgetExceeded>().is_some_and(|used| used.stopped),
        _ => false,
    }
}

fn used_up(message: String, stopped: bool) -> DataFusionError {
    DataFusionError::External(Box::new(BudgetExceeded { message, stopped }))
}

fn format_bytes(bytes: u64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let steps = (bytes.max(1).ilog2() / 10) as usize;
    let complete = bytes >> (10 * steps);
    format!("{complete} {}", units.get(steps).copied().unwrap_or("bytes"))
}

/// Returns the bytes of an array's own values, if it is a slice of a larger one.
pub fn bytes_of(array: &dyn Array) -> u64 {
    // For lists, Arrow counts all elements of the larger one.
    let within = |values: &dyn Array, offsets: (Option<usize>, Option<usize>), width: usize| {
        let (first, last) = (offsets.0.unwrap_or(0), offsets.1.unwrap_or(0));
        bytes_of(&*values.slice(first, last.saturating_sub(first))) + (width * (array.len() + 1)) as u64
    };
    if let Some(list) = array.as_list_opt::<i32>() {
        let index = |offset: Option<&i32>| offset.and_then(|offset| usize::try_from(*offset).ok());
        return within(list.values(), (index(list.offsets().first()), index(list.offsets().last())), size_of::<i32>());
    }
    if let Some(list) = array.as_list_opt::<i64>() {
        let index = |offset: Option<&i64>| offset.and_then(|offset| usize::try_from(*offset).ok());
        return within(list.values(), (index(list.offsets().first()), index(list.offsets().last())), size_of::<i64>());
    }
    if let Some(values) = array.as_struct_opt() {
        return values.columns().iter().map(|column| bytes_of(column)).sum();
    }
    array.to_data().get_slice_memory_size().unwrap_or_else(|_| array.get_array_memory_size()) as u64
}

/// Returns the bytes of rows.
pub fn bytes_of_rows(rows: &RecordBatch) -> u64 {
    rows.columns().iter().map(|column| bytes_of(column)).sum()
}
