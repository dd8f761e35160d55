//! Costs of a plugin's calls: CPU time, time in the guest and in the host, rows, bytes, memory, traps.
//!
//! A short call costs one reading of the thread's CPU clock, a few readings of the monotonic clock, and an uncontended lock: less than a
//! microsecond, most of it for the CPU clock, which is a system call.

use super::bindings::BatchOut;
use super::calls::{self, NotedCall};
use super::failure::CallFailure;
use super::guest::Guest;
use super::lower::Lowered;
use super::trap::Trap;
use arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// For shorter calls, the elapsed time counts as CPU time, which saves the second reading of that clock. The error is at most this long.
const SHORT: Duration = Duration::from_micros(100);

/// Costs of the calls of one plugin for one stage on one worker. Cheap to clone; clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct Account(Arc<Mutex<Costs>>);

/// Costs of calls. All attempts count, also failed ones and those that search for failing rows. The names of the fields are those in
/// statuses and metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Costs {
    /// Calls, whether they succeeded or failed.
    pub calls: u64,
    /// Instances created.
    pub instances: u64,
    /// CPU time of calls from the first to the last step of the host, in nanoseconds.
    pub cpu_ns: u64,
    /// Wall-clock time in the component, in nanoseconds: its functions, and its copies of arguments and results.
    pub guest_ns: u64,
    /// The remaining wall-clock time of calls, in nanoseconds: creating instances, preparing arguments, checking results, and imports that the
    /// component calls.
    pub host_ns: u64,
    /// Rows passed; of world `aggregate` those of `lift`.
    pub rows_in: u64,
    /// Rows taken as output; for world `aggregate`, those of `lower`. New states and accumulators do not count.
    pub rows_out: u64,
    /// Bytes of columns passed: rows, keys, states and accumulators.
    pub bytes_in: u64,
    /// Bytes of columns taken as results.
    pub bytes_out: u64,
    /// Maximum linear memory of any instance, in bytes.
    pub memory_bytes_max: u64,
    /// Dropped log lines.
    pub log_lines_dropped: u64,
    /// Failed calls by cause: `time`, `memory`, `trap`, ….
    pub traps: BTreeMap<String, u64>,
}

impl Costs {
    /// Adds those of other calls.
    pub fn add(&mut self, other: &Costs) {
        let sums = [
            (&mut self.calls, other.calls),
            (&mut self.instances, other.instances),
            (&mut self.cpu_ns, other.cpu_ns),
            (&mut self.guest_ns, other.guest_ns),
            (&mut self.host_ns, other.host_ns),
            (&mut self.rows_in, other.rows_in),
            (&mut self.rows_out, other.rows_out),
            (&mut self.bytes_in, other.bytes_in),
            (&mut self.bytes_out, other.bytes_out),
            (&mut self.log_lines_dropped, other.log_lines_dropped),
        ];
        for (sum, more) in sums {
            *sum = sum.saturating_add(more);
        }
        self.memory_bytes_max = self.memory_bytes_max.max(other.memory_bytes_max);
        for (kind, count) in &other.traps {
            self.count_traps(kind, *count);
        }
    }

    fn count_traps(&mut self, kind: &str, count: u64) {
        match self.traps.get_mut(kind) {
            Some(sum) => *sum = sum.saturating_add(count),
            None => {
                self.traps.insert(kind.to_owned(), count);
            }
        }
    }
}

impl Account {
    /// The costs, now.
    pub fn costs(&self) -> Costs {
        self.lock().clone()
    }

    /// Only their CPU time, in nanoseconds.
    pub fn cpu_ns(&self) -> u64 {
        self.lock().cpu_ns
    }

    fn lock(&self) -> MutexGuard<'_, Costs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Costs of one running call; they are added to the account when the call ends.
#[derive(Default)]
pub struct CallCosts {
    /// The account to add to.
    pub account: Account,
    began: Option<CallStart>,
    costs: Costs,
    /// Rows and bytes that are taken if the call succeeds.
    returned: (u64, u64),
    /// Bytes of these that are rows of output.
    pub output_bytes: u64,
}

struct CallStart {
    start: Instant,
    cpu: Duration,
}

impl CallCosts {
    /// The work for a call begins, if it has not.
    pub fn begin(&mut self) {
        self.began.get_or_insert_with(|| CallStart { start: Instant::now(), cpu: thread_cpu_time() });
    }

    /// The call passes these columns.
    pub fn passes(&mut self, columns: &Lowered) {
        self.costs.bytes_in = self.costs.bytes_in.saturating_add(columns.bytes());
    }

    /// Counts rows of the stage's input that the call passes.
    pub fn passes_rows(&mut self, rows: usize) {
        self.costs.rows_in = self.costs.rows_in.saturating_add(rows as u64);
    }

    /// Counts an instance created for the call.
    pub fn count_instance(&mut self) {
        self.costs.instances = self.costs.instances.saturating_add(1);
    }

    /// Counts the time until the component returned, including the time of imports that it called.
    pub fn add_guest_time(&mut self, took: Duration, guest: &Guest) {
        self.costs.guest_ns = nanoseconds(took.saturating_sub(guest.time_in_imports));
        self.costs.memory_bytes_max = guest.memory.now;
        self.costs.log_lines_dropped = guest.log_lines_dropped;
    }

    /// The call returned these columns.
    pub fn returns(&mut self, columns: &BatchOut) {
        let bytes = |of: &Option<Vec<u8>>| of.as_ref().map_or(0, Vec::len);
        let bytes = columns.columns.iter().map(|c| bytes(&c.validity) + bytes(&c.offsets) + c.data.len());
        self.returned.1 = self.returned.1.saturating_add(bytes.sum::<usize>() as u64);
    }

    /// The call returned these columns, and their rows are output.
    pub fn returns_rows(&mut self, rows: &BatchOut) {
        let before = self.returned.1;
        self.returns(rows);
        self.output_bytes = self.returned.1.saturating_sub(before);
        self.returned.0 = self.returned.0.saturating_add(rows.rows.into());
    }

    /// The call returns an output row for each of these, if it succeeds.
    pub fn returns_a_row_each(&mut self, of: &RecordBatch) {
        self.returned.0 = self.returned.0.saturating_add(of.num_rows() as u64);
    }

    /// The call has ended, and what it returned is checked.
    pub fn ended<T>(&mut self, result: &Result<T, CallFailure>) {
        let mut costs = std::mem::take(&mut self.costs);
        let (rows, bytes) = std::mem::take(&mut self.returned);
        let Some(began) = self.began.take() else { return };
        match result {
            Ok(_) => (costs.rows_out, costs.bytes_out) = (rows, bytes),
            Err(failure) => failure.trap.into_iter().for_each(|trap| costs.count_traps(trap.keyword(), 1)),
        }
        costs.calls = 1;
        let took = began.start.elapsed();
        let cpu = if took < SHORT { took } else { thread_cpu_time().saturating_sub(began.cpu) };
        costs.cpu_ns = nanoseconds(cpu);
        costs.host_ns = nanoseconds(took).saturating_sub(costs.guest_ns);
        let failed = result.as_ref().err().map(|failure| failure.trap.map_or("error", Trap::keyword));
        calls::note(NotedCall { began: began.start, took, rows_in: costs.rows_in, rows_out: costs.rows_out, failed });
        self.account.lock().add(&costs);
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// CPU time of this thread so far.
fn thread_cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes to `time` alone, which is a valid `timespec`.
    if unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) } != 0 {
        return Duration::ZERO;
    }
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or_default(), nanoseconds.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::super::bindings::ColumnOut;
    use super::*;
    use millstream_base::error::Error;

    fn returned() -> BatchOut {
        let column = ColumnOut { validity: Some(vec![1]), offsets: None, data: vec![0; 16] };
        BatchOut { rows: 2, columns: vec![column] }
    }

    fn failure(trap: Option<Trap>) -> Result<(), CallFailure> {
        let error = Error::plugin("no");
        Err(CallFailure { trap, reason: String::new(), backtrace: None, error, frames_at: 0..0 })
    }

    #[test]
    fn only_calls_that_succeed_return_something_and_all_count() {
        let mut bill = CallCosts::default();
        for result in [Ok(()), failure(Some(Trap::Time)), failure(Some(Trap::Time)), failure(None)] {
            bill.begin();
            bill.passes_rows(3);
            bill.returns_rows(&returned());
            bill.returns(&returned());
            bill.ended(&result);
        }
        let costs = bill.account.costs();
        assert_eq!((costs.calls, costs.rows_in, costs.rows_out, costs.bytes_out), (4, 12, 2, 34));
        assert_eq!(costs.traps, BTreeMap::from([("time".to_owned(), 2)]));
    }

    #[test]
    fn what_was_not_begun_costs_nothing() {
        let mut bill = CallCosts::default();
        bill.count_instance();
        bill.ended(&failure(Some(Trap::Memory)));
        assert_eq!(bill.account.costs(), Costs::default());
    }

    #[test]
    fn work_takes_cpu_time_and_waiting_takes_none() {
        let mut bill = CallCosts::default();
        bill.begin();
        let began = Instant::now();
        while thread_cpu_time_since(&bill) < Duration::from_millis(5) {
            assert!(began.elapsed() < Duration::from_secs(60), "the CPU clock stands still");
        }
        std::thread::sleep(Duration::from_millis(50));
        bill.ended(&Ok(()));
        let costs = bill.account.costs();
        assert!(costs.cpu_ns >= 5_000_000 && costs.host_ns >= costs.cpu_ns + 40_000_000, "{costs:?}");
    }

    fn thread_cpu_time_since(bill: &CallCosts) -> Duration {
        thread_cpu_time().saturating_sub(bill.began.as_ref().unwrap().cpu)
    }

    #[test]
    fn the_peak_of_several_is_the_highest() {
        let mut sum = Costs { memory_bytes_max: 7, cpu_ns: u64::MAX, ..Costs::default() };
        sum.add(&Costs { memory_bytes_max: 5, cpu_ns: 1, traps: [("fuel".to_owned(), 1)].into(), ..Costs::default() });
        assert_eq!((sum.memory_bytes_max, sum.cpu_ns, sum.traps["fuel"]), (7, u64::MAX, 1));
    }
}
