//! Processes rows from standard input with plugins and a query, and writes them to standard output: like a job with a
//! file, but without batches, state and checkpoints. The job is built and checked like any other (`graph`). It runs on
//! these threads:
//!
//! - one reads the input, cuts it into *portions* and numbers them (`input`);
//! - as many as a job has workers decode, call plugins and encode lines (`steps`). They write these in the order of the
//!   portions (`turns`, `output`);
//! - if a query processes all rows together, one runs it over them as they arrive.
//!
//! Input is not collected: it is processed as soon as no more is waiting. Backpressure stops all earlier steps.

mod graph;
mod input;
pub mod options;
mod output;
mod rejections;
mod sample;
mod steps;
mod turns;

use arrow::array::RecordBatch;
use graph::PipeGraph;
use input::{Input, Portion};
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_base::ids::BatchId;
use millstream_base::{memory, threads, time};
use millstream_engine::running::{self, workers};
use millstream_sql::query::Prepared;
use options::{Options, PipeFormat};
use output::{Output, OutputRows};
use rejections::Refusals;
use sample::Sample;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use steps::Steps;
use turns::Turns;

/// Maximum number of portions, or parts for a query, that wait for the next thread.
const WAITING_MAX: usize = 1;

/// Runs the pipe up to the end of the input, or until a query needs no more.
pub fn run(options: &Options) -> Result<()> {
    let mut input = Input::of_standard_input();
    // Without rows there is no output, whatever the plugins and the query are.
    let Some(sample) = Sample::read(&mut input, options)? else { return Ok(()) };
    let graph = PipeGraph::build(options, &sample)?;
    memory::limit(graph.spec().memory_bytes_max, 1)?;
    let workers = workers(graph.spec(), &running::Options::default())?;
    let output = Output::new(options.to, graph.output()?)?;
    let refusals = Refusals::new(options.rejected.as_deref())?;
    let (done, ended) = channel();
    let to = match graph.combined_query()? {
        None => Goal::Output(Box::new(output)),
        Some(query) => Goal::Query(start_query(query, output, done.clone())?),
    };
    let turns = Arc::new(Turns::new(Target { to, refusals }));
    let (portions, next) = sync_channel(WAITING_MAX);
    let next = Arc::new(Mutex::new(next));
    for _ in 0..workers {
        let steps = Steps::new(&graph, options)?;
        let worker = Worker { steps, turns: turns.clone(), next: next.clone(), done: done.clone() };
        start("millstream-pipe-worker", "a thread that processes rows", &done, move || worker.work())?;
    }
    let cutter = sample.cutter(graph.source()?);
    start("millstream-pipe-input", "the thread that reads standard input", &done, move || {
        input.cut(cutter, &portions)
    })?;
    let ended = ended.recv().map_err(|_| Error::bug("the threads of a pipe ended without a message"))?;
    // Other threads may still run, but their results are not needed.
    turns.close(|target| target.refusals.report());
    ended
}

/// Starts a thread, whose panic ends the pipe.
fn start(name: &str, what: &str, done: &Sender<Result<()>>, work: impl FnOnce() + Send + 'static) -> Result<()> {
    let done = done.clone();
    threads::start(name, what, move |error| drop(done.send(Err(error))), work).map(drop)
}

/// Starts a query over all rows. Returns where to send these, with `None` after the last of them.
fn start_query(
    query: Prepared,
    mut output: Output,
    done: Sender<Result<()>>,
) -> Result<SyncSender<Option<RecordBatch>>> {
    let (sender, rows) = sync_channel(WAITING_MAX);
    let query_done = done.clone();
    let work = move || drop(done.send(follow(&query, rows, &mut output)));
    start("millstream-pipe-query", "the thread of the query", &query_done, work)?;
    Ok(sender)
}

fn follow(query: &Prepared, rows: Receiver<Option<RecordBatch>>, output: &mut Output) -> Result<()> {
    // If the end was not sent, an error occurred, and was reported by its thread.
    let next = move || rows.recv().map_err(|_| Error::bug("the rows of a pipe ended without a message"));
    query.follow(context(0), next, |rows| {
        let written = output.form().encode(rows)?;
        output.put(written)
    })?;
    output.end()
}

/// Returns the context of a portion for plugins and queries.
fn context(number: u64) -> BatchContext {
    BatchContext::new(BatchId(number.saturating_add(1)), time::now())
}

/// The destination of rows, which is used in turn.
struct Target {
    to: Goal,
    refusals: Refusals,
}

enum Goal {
    /// Standard output.
    Output(Box<Output>),
    /// The query over all rows.
    Query(SyncSender<Option<RecordBatch>>),
}

/// The work in the turn of a portion.
struct PortionResult {
    rows: Vec<PortionRows>,
    rejection_list: Vec<rejections::PortionRefusals>,
    /// The error that ends the pipe after these rows.
    failed: Option<Error>,
    /// Whether the input has ended.
    ends: bool,
}

enum PortionRows {
    Written(OutputRows),
    Rows(RecordBatch),
}

impl Target {
    /// Writes the result of a portion. Returns whether everything is done.
    fn put(&mut self, made: PortionResult) -> Result<bool> {
        for rejection_list in made.rejection_list {
            self.refusals.take(&rejection_list)?;
        }
        for rows in made.rows {
            match (&mut self.to, rows) {
                (Goal::Output(output), PortionRows::Written(written)) => output.put(written)?,
                // A query that needs no more rows has ended, and reports that itself.
                (Goal::Query(query), PortionRows::Rows(rows)) => drop(query.send(Some(rows))),
                _ => return Err(Error::bug("rows of a pipe that are not for its end")),
            }
        }
        match (made.failed, &mut self.to) {
            (Some(error), _) => Err(error),
            (None, Goal::Output(output)) if made.ends => output.end().map(|()| true),
            (None, Goal::Query(query)) if made.ends => {
                // Its thread is done when it has written its rows.
                let _ = query.send(None);
                Ok(false)
            }
            (None, _) => Ok(false),
        }
    }

    /// Returns the output format, or `None` if the query takes rows unchanged.
    fn form(&self) -> Option<PipeFormat> {
        match &self.to {
            Goal::Output(output) => Some(output.form()),
            Goal::Query(_) => None,
        }
    }
}

/// Processes one portion after the other.
struct Worker {
    steps: Steps,
    turns: Arc<Turns<Target>>,
    next: Arc<Mutex<Receiver<(u64, Portion)>>>,
    done: Sender<Result<()>>,
}

impl Worker {
    fn work(mut self) {
        let form = self.turns.look(Target::form);
        loop {
            let next = self.next.lock().unwrap_or_else(PoisonError::into_inner).recv();
            // The input thread ends after the last portion.
            let Ok((number, portion)) = next else { return };
            let made = self.process_portion(number, portion, form);
            match self.turns.take(number, |target| target.put(made?)) {
                Some(Ok(false)) => {}
                Some(Ok(true)) => drop(self.done.send(Ok(()))),
                Some(Err(error)) => drop(self.done.send(Err(error))),
                None => return,
            }
        }
    }

    fn process_portion(&mut self, number: u64, portion: Portion, form: Option<PipeFormat>) -> Result<PortionResult> {
        let none = PortionResult { rows: Vec::new(), rejection_list: Vec::new(), failed: None, ends: false };
        let worked = match portion {
            Portion::End => return Ok(PortionResult { ends: true, ..none }),
            Portion::Failed(error) => return Err(error),
            Portion::Chunk { chunk, line } => self.steps.chunk(context(number), chunk, line)?,
            Portion::Rows(rows) => self.steps.rows(context(number), rows)?,
        };
        let made = |rows: RecordBatch| match form {
            Some(form) => form.encode(rows).map(PortionRows::Written),
            None => Ok(PortionRows::Rows(rows)),
        };
        let rows = worked.rows.into_iter().map(made).collect::<Result<_>>()?;
        Ok(PortionResult { rows, rejection_list: worked.rejection_list, failed: worked.failed, ..none })
    }
}
