//! Rows from standard input through plugins and a query to standard output: what a job does with a file, without its batches, its
//! state and its checkpoints. The job is put together and checked as any other (`graph`); what runs it are these threads:
//!
//! - one reads the input, cuts it into *portions* and numbers them (`input`);
//! - as many as a job has workers decode, call plugins and make lines (`steps`), and put these out in turn, as the portions came
//!   (`turns`, `output`);
//! - where a query looks at all rows, one runs it over them as they come.
//!
//! Nobody gathers: what has come goes on as soon as nothing more waits in the input. Whoever is not done makes all before it wait.

mod graph;
mod input;
pub mod options;
mod output;
mod refused;
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
use refused::Refusals;
use sample::Sample;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use steps::Steps;
use turns::Turns;

/// Portions, or parts for a query, that wait for whoever takes the next.
const WAITING_MAX: usize = 1;

/// Does it, up to the end of the input, or until a query wants no more.
pub fn run(options: &Options) -> Result<()> {
    let mut input = Input::of_standard_input();
    // No rows, and so no output, whatever the plugins and the query are.
    let Some(sample) = Sample::of(&mut input, options)? else { return Ok(()) };
    let graph = PipeGraph::of(options, &sample)?;
    memory::limit(graph.spec().memory_bytes_max, 1)?;
    let workers = workers(graph.spec(), &running::Options::default())?;
    let output = Output::new(options.to, graph.output()?)?;
    let refusals = Refusals::new(options.rejected.as_deref())?;
    let (done, ended) = channel();
    let to = match graph.whole_query()? {
        None => Goal::Output(Box::new(output)),
        Some(query) => Goal::Query(start_query(query, output, done.clone())?),
    };
    let turns = Arc::new(Turns::new(Target { to, refusals }));
    let (portions, next) = sync_channel(WAITING_MAX);
    let next = Arc::new(Mutex::new(next));
    for _ in 0..workers {
        let steps = Steps::new(&graph, options)?;
        let worker = Worker { steps, turns: turns.clone(), next: next.clone(), done: done.clone() };
        start("millstream-pipe-worker", "a thread that works on rows", &done, move || worker.work())?;
    }
    let cutter = sample.cutter(graph.source()?);
    start("millstream-pipe-input", "the thread that reads standard input", &done, move || {
        input.cut(cutter, &portions)
    })?;
    let ended = ended.recv().map_err(|_| Error::bug("the threads of a pipe ended without a word"))?;
    // What others still do is of no use to anybody.
    turns.close(|target| target.refusals.tell());
    ended
}

/// Starts a thread, whose panic ends all.
fn start(name: &str, what: &str, done: &Sender<Result<()>>, work: impl FnOnce() + Send + 'static) -> Result<()> {
    let done = done.clone();
    threads::start(name, what, move |error| drop(done.send(Err(error))), work).map(drop)
}

/// Starts a query over all rows; where to send these. `None` behind the last of them.
fn start_query(
    query: Prepared,
    mut output: Output,
    done: Sender<Result<()>>,
) -> Result<SyncSender<Option<RecordBatch>>> {
    let (sender, rows) = sync_channel(WAITING_MAX);
    let told = done.clone();
    let work = move || drop(done.send(follow(&query, rows, &mut output)));
    start("millstream-pipe-query", "the thread of the query", &told, work)?;
    Ok(sender)
}

fn follow(query: &Prepared, rows: Receiver<Option<RecordBatch>>, output: &mut Output) -> Result<()> {
    // Without the end having been told, something went wrong, and whoever saw it has said so.
    let next = move || rows.recv().map_err(|_| Error::bug("the rows of a pipe broke off without a word"));
    query.follow(context(0), next, |rows| {
        let written = output.form().written(rows)?;
        output.put(written)
    })?;
    output.end()
}

/// What plugins and queries are told of a portion.
fn context(number: u64) -> BatchContext {
    BatchContext::new(BatchId(number.saturating_add(1)), time::now())
}

/// Where rows go in turn.
struct Target {
    to: Goal,
    refusals: Refusals,
}

enum Goal {
    /// Out.
    Output(Box<Output>),
    /// To the query over all of them.
    Query(SyncSender<Option<RecordBatch>>),
}

/// What there is to do in the turn of a portion.
struct PortionResult {
    rows: Vec<MadeRows>,
    refused: Vec<refused::PortionRefusals>,
    /// What ends all behind these.
    failed: Option<Error>,
    /// The input is at its end.
    ends: bool,
}

enum MadeRows {
    Written(OutputRows),
    Rows(RecordBatch),
}

impl Target {
    /// Whether all is done with that.
    fn put(&mut self, made: PortionResult) -> Result<bool> {
        for refused in made.refused {
            self.refusals.take(&refused)?;
        }
        for rows in made.rows {
            match (&mut self.to, rows) {
                (Goal::Output(output), MadeRows::Written(written)) => output.put(written)?,
                // A query that wants no more has ended, and says so itself.
                (Goal::Query(query), MadeRows::Rows(rows)) => drop(query.send(Some(rows))),
                _ => return Err(Error::bug("rows of a pipe that are not for its end")),
            }
        }
        match (made.failed, &mut self.to) {
            (Some(error), _) => Err(error),
            (None, Goal::Output(output)) if made.ends => output.end().map(|()| true),
            (None, Goal::Query(query)) if made.ends => {
                // Its thread is done when it has put out its rows.
                let _ = query.send(None);
                Ok(false)
            }
            (None, _) => Ok(false),
        }
    }

    /// What output is to be written in; `None`: the query takes rows as they are.
    fn form(&self) -> Option<PipeFormat> {
        match &self.to {
            Goal::Output(output) => Some(output.form()),
            Goal::Query(_) => None,
        }
    }
}

/// Works on one portion after the other.
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
            // The input thread ends behind the last portion.
            let Ok((number, portion)) = next else { return };
            let made = self.made(number, portion, form);
            match self.turns.take(number, |target| target.put(made?)) {
                Some(Ok(false)) => {}
                Some(Ok(true)) => drop(self.done.send(Ok(()))),
                Some(Err(error)) => drop(self.done.send(Err(error))),
                None => return,
            }
        }
    }

    fn made(&mut self, number: u64, portion: Portion, form: Option<PipeFormat>) -> Result<PortionResult> {
        let none = PortionResult { rows: Vec::new(), refused: Vec::new(), failed: None, ends: false };
        let worked = match portion {
            Portion::End => return Ok(PortionResult { ends: true, ..none }),
            Portion::Failed(error) => return Err(error),
            Portion::Chunk { chunk, line } => self.steps.chunk(context(number), chunk, line)?,
            Portion::Rows(rows) => self.steps.rows(context(number), rows)?,
        };
        let made = |rows: RecordBatch| match form {
            Some(form) => form.written(rows).map(MadeRows::Written),
            None => Ok(MadeRows::Rows(rows)),
        };
        let rows = worked.rows.into_iter().map(made).collect::<Result<_>>()?;
        Ok(PortionResult { rows, refused: worked.refused, failed: worked.failed, ..none })
    }
}
