//! A standby process. While others run the job, it has the job's plugins loaded and the tables of the newest
//! checkpoint, as its own workers will need them. It follows new checkpoints. It changes nothing and is invisible until
//! it is ordered to take the job over.
//!
//! If there are several, process 0 opens its port meanwhile, and the others connect and wait. This proves that they
//! run, can reach each other and know the key, before any old process ends.

use super::prepared::{PreparedStart, StandbyPort};
use super::start::{connect_peers, open_port, processes_sharing_memory, startup_retry};
use crate::recover::tables_of;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::fault;
use millstream_base::ids::{BatchId, Generation};
use millstream_base::memory;
use millstream_base::threads;
use millstream_connectors::kinds;
use millstream_engine::checkpoint::manifest;
use millstream_engine::checkpoint::store::{self, Store};
use millstream_engine::checkpoint::types::{Manifest, Table, TableOf};
use millstream_engine::graph::Graph;
use millstream_engine::operators::enrich::check::content_table;
use millstream_engine::operators::join::check::right_table;
use millstream_engine::operators::join::state::Side;
use millstream_engine::operators::simple::SimpleNode;
use millstream_engine::operators::stage::{Operator, StageNode};
use millstream_engine::operators::window::check::{pieces_table, rows_table};
use millstream_engine::operators::window::node::WindowNode;
use millstream_engine::running::{Options, workers};
use millstream_engine::state::TouchSource;
use millstream_engine::state::ahead::{TableRequest, TablesAhead};
use millstream_engine::state::spill::budget::StateBudget;
use millstream_engine::state::timers;
use millstream_job::spec::{CHECKPOINT_SCHEMES, JobSpec};
use millstream_plugins::plugin::PluginHost;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

/// How often it checks for a newer checkpoint: in a directory, and in a store where each check is a request to a
/// server.
const DIR_POLL_INTERVAL: Duration = Duration::from_millis(50);
const STORE_POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Maximum number of checkpoints that it follows if files are missing, before it leaves the rest to the startup. Small
/// tables are rewritten with each checkpoint. If checkpoints come faster than their files are read, some file is always
/// deleted.
const FOLLOW_TRIES_MAX: u32 = 10;

/// A job that another process runs.
pub(super) struct Standby {
    plugins: PluginHost,
    /// Its plugins stay compiled while it is held.
    graph: Graph,
    options: Options,
    store: Arc<dyn Store>,
    wanted: Vec<TableRequest>,
    workers: Range<usize>,
    peers: usize,
    ahead: Arc<TablesAhead>,
    look_every: Duration,
}

/// An event that a standby process reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StandbyEvent {
    /// It has loaded the checkpoint after this batch.
    Loaded(BatchId),
    /// The number of other processes that wait at its port.
    Waiting(usize),
}

impl Standby {
    /// Loads the plugins.
    pub(super) fn new(spec: &JobSpec, options: &Options) -> Result<Standby> {
        memory::limit(spec.memory_bytes_max, processes_sharing_memory(options))?;
        let Some(checkpoint) = &spec.checkpoint else {
            return Err(Error::job("a job without [checkpoint] has no state that another process could take over"));
        };
        let store = store::open(&checkpoint.dir, &spec.origin.dir)?;
        let plugins = PluginHost::new()?;
        let graph = Graph::resolve(spec.clone(), kinds::all(), &plugins, false, startup_retry(options))?;
        let count = workers(&graph.spec, options)?;
        graph.check_instances(count)?;
        let (process, processes) = options.process_and_count();
        let is_asked = CHECKPOINT_SCHEMES.iter().any(|scheme| checkpoint.dir.starts_with(scheme));
        Ok(Standby {
            wanted: wanted_tables(&graph),
            plugins,
            graph,
            options: options.clone(),
            store,
            workers: process * count..(process + 1) * count,
            peers: count * processes,
            ahead: Arc::default(),
            look_every: if is_asked { STORE_POLL_INTERVAL } else { DIR_POLL_INTERVAL },
        })
    }

    /// Follows the job's checkpoints and reports each loaded one, until `go` returns that the job is to be taken over.
    /// `go` waits at most for the given time.
    pub(super) fn follow_until(
        self,
        mut report: impl FnMut(StandbyEvent),
        mut go: impl FnMut(Duration) -> bool,
    ) -> Result<PreparedStart> {
        fault::point("handover.loading");
        let (mut last, mut own_port, mut waiting) = (None, None, 0);
        let failure = Failure::default();
        loop {
            let newest = self.follow(last)?;
            if last != Some(newest) {
                if last.is_none() {
                    fault::point("handover.loaded");
                }
                report(StandbyEvent::Loaded(newest));
                last = Some(newest);
                continue;
            }
            let own_port = match &mut own_port {
                Some(own_port) => own_port,
                none => none.insert(self.own_port(&failure)?),
            };
            if let StandbyPort::Open(_, port) = own_port
                && waiting != port.waiting()
            {
                waiting = port.waiting();
                report(StandbyEvent::Waiting(waiting));
            }
            if go(self.look_every) && own_port.is_admitted_within(self.look_every)? {
                break;
            }
        }
        // Load the last checkpoint: no process publishes another one.
        if let Err(error) = self.follow(last) {
            tracing::debug!("the last checkpoint is loaded at startup: {error}");
        }
        fault::point("handover.taken");
        let port = own_port.unwrap_or(StandbyPort::None);
        Ok(PreparedStart { plugins: self.plugins, ahead: self.ahead, port, failure })
    }

    /// Opens the port of process 0, or connects to it.
    fn own_port(&self, failure: &Failure) -> Result<StandbyPort> {
        let Some((hello, port)) = open_port(&self.graph, &self.options)? else { return Ok(StandbyPort::None) };
        if hello.process == 0 {
            return Ok(StandbyPort::Open(hello, port));
        }
        let (sender, response) = channel();
        let (options, failure, failing) = (self.options.clone(), failure.clone(), sender.clone());
        // The receiver is dropped when this process ends.
        let failed = move |error| drop(failing.send(Err(error)));
        let knock = move || drop(sender.send(connect_peers(&options, Some((hello, port)), Generation(0), &failure)));
        threads::start("millstream-knock", "the thread that waits for process 0", failed, knock)?;
        Ok(StandbyPort::Connecting(hello, response))
    }

    /// Loads the newest checkpoint, unless it is the one after the batch `last`. Batch 0 means that there is none yet.
    fn follow(&self, last: Option<BatchId>) -> Result<BatchId> {
        let mut tries = 0;
        loop {
            let manifest = self.manifest()?;
            let Some(newest) = manifest.newest() else { return Ok(BatchId(0)) };
            if last == Some(newest.batch) {
                return Ok(newest.batch);
            }
            let followed = self.ahead.follow(&*self.store, newest, &self.wanted, self.workers.clone(), self.peers);
            tries += 1;
            match followed {
                Err(error) if tries >= FOLLOW_TRIES_MAX && self.is_replaced(newest.batch)? => {
                    tracing::debug!("parts of the checkpoint are loaded at startup: {error}");
                    return Ok(newest.batch);
                }
                Ok(()) => {
                    self.ahead.check_files(&*self.store, &manifest);
                    return Ok(newest.batch);
                }
                // A newer checkpoint has made files of this one obsolete, and they were deleted.
                Err(_) if self.is_replaced(newest.batch)? => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns whether the checkpoint after this batch is no longer the newest.
    fn is_replaced(&self, batch: BatchId) -> Result<bool> {
        Ok(self.manifest()?.newest().map(|newest| newest.batch) != Some(batch))
    }

    fn manifest(&self) -> Result<Manifest> {
        let there = manifest::read(&*self.store)?;
        let missing = || Error::environment(format!("{}: no checkpoint found", self.store.location()));
        there.map(|(manifest, _)| manifest).ok_or_else(missing)
    }
}

/// Returns the tables that stages load row by row. Other tables are small, or are loaded when the job is taken over.
fn wanted_tables(graph: &Graph) -> Vec<TableRequest> {
    let is_of_stage = |table: &Table| {
        let kept_complete = |stage: &StageNode| {
            let by_rows = is_session(stage) || budget_of(stage, graph).is_some();
            table.name == content_table(&stage.name) || (table.name == rows_table(&stage.name) && !by_rows)
        };
        table.of == TableOf::Stage && !graph.stages.iter().any(kept_complete)
    };
    let as_kept = |table: Table| {
        let is_of = |stage: &&StageNode| {
            let extra_tables =
                [right_table, rows_table, pieces_table, timers::table_name].map(|name| name(&stage.name));
            table.name == stage.name || extra_tables.contains(&table.name)
        };
        let stage = graph.stages.iter().find(is_of);
        let budget = stage.and_then(|stage| budget_of(stage, graph));
        let idle = stage.and_then(|stage| idle_of(stage, &table, budget.is_some()));
        TableRequest { table, idle, budget }
    };
    tables_of(graph).into_iter().filter(is_of_stage).map(as_kept).collect()
}

fn is_session(stage: &StageNode) -> bool {
    matches!(stage.window, Some(WindowNode::Session { .. }))
}

/// Returns the budget of the rows of a stage, if they may spill to files.
fn budget_of(stage: &StageNode, graph: &Graph) -> Option<Arc<StateBudget>> {
    match &stage.operator {
        Operator::Update(_, update) => update.budget.clone(),
        _ => graph.budget.clone().filter(|_| stage.may_spill()),
    }
}

/// Returns when the keys of a table are idle, as the stage defines it.
fn idle_of(stage: &StageNode, table: &Table, may_spill: bool) -> Option<(TouchSource, i64)> {
    if table.name == pieces_table(&stage.name) || (table.name == rows_table(&stage.name) && !is_session(stage)) {
        return None;
    }
    if let Some(WindowNode::Session { gap_us, .. }) = stage.window {
        return Some((TouchSource::State(0), gap_us));
    }
    match &stage.operator {
        Operator::Update(..) if table.name == timers::table_name(&stage.name) => {
            Some(timers::DUE).filter(|_| may_spill)
        }
        Operator::Update(_, update) => {
            let timeout = update.timeout.map(|timeout| i64::try_from(timeout.as_micros()).unwrap_or(i64::MAX));
            timeout.map(|timeout_us| (TouchSource::Touch, timeout_us))
        }
        Operator::Simple(SimpleNode::Deduplicate { within_us }) => Some((TouchSource::State(0), *within_us)),
        Operator::Join(join) if may_spill => {
            let side = if table.name == stage.name { Side::First } else { Side::Second };
            let interval = join.interval.as_ref().map(|interval| interval.idle(side));
            let as_of = || join.as_of.as_ref().and_then(|as_of| as_of.idle(side.index()));
            interval.or_else(as_of).or_else(|| join.changing.as_ref()?.what.idle())
        }
        _ => None,
    }
}
