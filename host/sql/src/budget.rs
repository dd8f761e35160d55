//! How much memory and time a query or expression may take, and who asks it to end: looked at wherever rows go from one
//! step to the next, and wherever a function is called.

use crate::limits::{SQL_PLAN_BYTES_MAX, SQL_PLAN_MS_MAX, SQL_STOP_MS};
use arrow::array::{Array, AsArray, RecordBatch};
use datafusion::common::{DataFusionError, Result};
use millstream_base::job::spec::SqlLimits;
use millstream_base::memory;
use millstream_base::panics::caught;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::time::{Duration, Instant};

/// What is left of it.
#[derive(Clone, Copy)]
struct Budget {
    limits: SqlLimits,
    began: Instant,
    /// When the job was first seen to stop.
    stopping: Option<Instant>,
    /// Bytes that aggregates over window frames have put out.
    put_out: u64,
}

thread_local! {
    static BUDGET: Cell<Option<Budget>> = const { Cell::new(None) };
    /// Whether the job that this thread works for is to stop.
    static STOPPING: RefCell<Option<Box<dyn Fn() -> bool>>> = const { RefCell::new(None) };
}

/// A budget that is used up, in words.
#[derive(Debug)]
pub struct UsedUp {
    words: String,
    stopped: bool,
}

impl fmt::Display for UsedUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl std::error::Error for UsedUp {}

/// Names how this thread learns that its job is to stop.
pub fn of_job(stopping: impl Fn() -> bool + 'static) {
    STOPPING.set(Some(Box::new(stopping)));
}

/// Works within limits. A panic of a library becomes an error.
pub fn within<T>(limits: SqlLimits, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = BUDGET.replace(Some(Budget { limits, began: Instant::now(), stopping: None, put_out: 0 }));
    let done = caught(work);
    BUDGET.set(before);
    done.unwrap_or_else(|words| Err(panicked(None, &words)))
}

/// Plans, with what planning may take.
pub fn while_planning<T>(plan: impl FnOnce() -> T) -> T {
    let limits = SqlLimits { memory_bytes_max: SQL_PLAN_BYTES_MAX, time_max: Duration::from_millis(SQL_PLAN_MS_MAX) };
    let before = BUDGET.replace(Some(Budget { limits, began: Instant::now(), stopping: None, put_out: 0 }));
    let done = plan();
    BUDGET.set(before);
    done
}

/// The error for a panic of a library, in this function where it is known.
pub fn panicked(function: Option<&str>, words: &str) -> DataFusionError {
    let what = function.map_or("a function".to_owned(), |name| format!("`{name}`"));
    let words = words.lines().next().unwrap_or_default();
    DataFusionError::Execution(format!(
        "{what} does not accept such values: the library that computes it failed ({words})"
    ))
}

/// Bytes that one value, part or list of rows may have here.
pub fn bytes_max() -> u64 {
    BUDGET.get().map_or(SQL_PLAN_BYTES_MAX, |budget| budget.limits.memory_bytes_max)
}

/// An error where the time is over, where the job stops and has waited long enough, or where it has no memory left.
pub fn check() -> Result<()> {
    memory::check().map_err(|error| DataFusionError::External(Box::new(error)))?;
    let Some(mut budget) = BUDGET.get() else { return Ok(()) };
    let limit = budget.limits.time_max;
    if !limit.is_zero() && budget.began.elapsed() > limit {
        let words = format!(
            "it takes longer than {} s; simplify it, use smaller batches, or raise `limits.time`",
            limit.as_secs_f64()
        );
        return Err(used_up(words, false));
    }
    let stopping = || STOPPING.with_borrow(|stopping| stopping.as_ref().is_some_and(|stopping| stopping()));
    if budget.stopping.is_none() && stopping() {
        budget.stopping = Some(Instant::now());
        BUDGET.set(Some(budget));
    }
    match budget.stopping {
        Some(since) if since.elapsed() > Duration::from_millis(SQL_STOP_MS) => {
            let seconds = SQL_STOP_MS / 1000;
            let words = format!(
                "the job is to stop, and it was still not done {seconds} s later; nothing of this batch is committed"
            );
            Err(used_up(words, true))
        }
        _ => Ok(()),
    }
}

/// An error where so many bytes are more than may be; `what` would make them.
pub fn allow(what: &str, bytes: u64) -> Result<()> {
    if bytes > bytes_max() { Err(too_much(what, bytes)) } else { Ok(()) }
}

/// The error for what would make so many bytes.
pub fn too_much(what: &str, bytes: u64) -> DataFusionError {
    let (bytes, max) = (bytes_in_words(bytes), bytes_in_words(bytes_max()));
    used_up(
        format!("{what} would produce {bytes}, but the maximum is {max}; produce less, or raise `limits.memory`"),
        false,
    )
}

/// The words for rows that do not fit.
pub fn no_room(bytes_max: u64) -> String {
    let max = bytes_in_words(bytes_max);
    format!("its rows need more memory than {max}; produce fewer rows, or raise `limits.memory`")
}

/// Counts what aggregates over window frames put out; all of it is held until the query is done.
pub fn put_out(bytes: usize) -> Result<()> {
    check()?;
    let Some(mut budget) = BUDGET.get() else { return Ok(()) };
    budget.put_out = budget.put_out.saturating_add(bytes as u64);
    BUDGET.set(Some(budget));
    allow("an aggregate", budget.put_out)
}

/// Whether the error says that the job stopped.
pub fn is_stop(error: &DataFusionError) -> bool {
    match error.find_root() {
        DataFusionError::External(inner) => inner.downcast_ref::<UsedUp>().is_some_and(|used| used.stopped),
        _ => false,
    }
}

fn used_up(words: String, stopped: bool) -> DataFusionError {
    DataFusionError::External(Box::new(UsedUp { words, stopped }))
}

fn bytes_in_words(bytes: u64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let steps = (bytes.max(1).ilog2() / 10) as usize;
    let whole = bytes >> (10 * steps);
    format!("{whole} {}", units.get(steps).copied().unwrap_or("bytes"))
}

/// Bytes of an array's own values, where it is a piece of a larger one.
pub fn bytes_of(array: &dyn Array) -> u64 {
    // Of lists, Arrow counts all elements of the larger one.
    let within = |values: &dyn Array, offsets: (Option<usize>, Option<usize>), width: usize| {
        let (first, last) = (offsets.0.unwrap_or(0), offsets.1.unwrap_or(0));
        bytes_of(&*values.slice(first, last.saturating_sub(first))) + (width * (array.len() + 1)) as u64
    };
    if let Some(list) = array.as_list_opt::<i32>() {
        let place = |offset: Option<&i32>| offset.and_then(|offset| usize::try_from(*offset).ok());
        return within(list.values(), (place(list.offsets().first()), place(list.offsets().last())), size_of::<i32>());
    }
    if let Some(list) = array.as_list_opt::<i64>() {
        let place = |offset: Option<&i64>| offset.and_then(|offset| usize::try_from(*offset).ok());
        return within(list.values(), (place(list.offsets().first()), place(list.offsets().last())), size_of::<i64>());
    }
    if let Some(values) = array.as_struct_opt() {
        return values.columns().iter().map(|column| bytes_of(column)).sum();
    }
    array.to_data().get_slice_memory_size().unwrap_or_else(|_| array.get_array_memory_size()) as u64
}

/// Bytes of rows.
pub fn bytes_of_rows(rows: &RecordBatch) -> u64 {
    rows.columns().iter().map(|column| bytes_of(column)).sum()
}
