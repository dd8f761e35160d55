//! A process that stands by while others run the job: it has the job's plugins loaded and the tables of the newest checkpoint, as
//! its own workers will need them, and follows the checkpoints that come. It changes nothing, and nobody hears of it, until it is
//! told to take the job over. Where it is one of several, process 0 opens its port meanwhile, and the others come there and wait: so it is
//! known that they are there, can reach each other and know the key, before anybody ends.

use super::prepared::{PreparedStart, StandByPort};
use super::start::{connected, open_port, servers, sharing};
use crate::recover::tables_of;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::fault;
use millstream_base::ids::{BatchId, Generation};
use millstream_base::job::spec::{CHECKPOINT_SCHEMES, JobSpec};
use millstream_base::memory;
use millstream_base::threads;
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
use millstream_engine::state::IdleBy;
use millstream_engine::state::ahead::{TablesAhead, WantedTable};
use millstream_engine::state::spill::budget::StateBudget;
use millstream_engine::state::timers;
use millstream_plugins::plugin::PluginHost;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

/// How often it looks for a newer checkpoint: in a folder, and where each look is a request to a server.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const ASK_EVERY: Duration = Duration::from_millis(500);
/// Checkpoints that it follows as far as it can, before what is missing is left to the start: small tables are written anew with each
/// checkpoint, and where these come faster than their files are read there is always one that is gone.
const FOLLOWED_MAX: u32 = 10;

/// A job that another process runs.
pub(super) struct StandBy {
    plugins: PluginHost,
    /// As long as it is there, its plugins stay compiled.
    graph: Graph,
    options: Options,
    store: Arc<dyn Store>,
    wanted: Vec<WantedTable>,
    workers: Range<usize>,
    peers: usize,
    ahead: Arc<TablesAhead>,
    look_every: Duration,
}

/// What a process that stands by tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StandByNews {
    /// It has loaded the checkpoint after this batch.
    Loaded(BatchId),
    /// So many of the other processes wait at its port.
    Waiting(usize),
}

impl StandBy {
    /// Loads the plugins.
    pub(super) fn new(spec: &JobSpec, options: &Options) -> Result<StandBy> {
        memory::limit(spec.memory_bytes_max, sharing(options))?;
        let Some(checkpoint) = &spec.checkpoint else {
            return Err(Error::job("a job without [checkpoint] has nothing that another process could take over"));
        };
        let store = store::open(&checkpoint.dir, &spec.origin.folder)?;
        let plugins = PluginHost::new()?;
        let graph = Graph::resolve(spec.clone(), &plugins, false, servers(options))?;
        let count = workers(&graph.spec, options)?;
        graph.check_instances(count)?;
        let (process, processes) = options.place();
        let is_asked = CHECKPOINT_SCHEMES.iter().any(|scheme| checkpoint.dir.starts_with(scheme));
        Ok(StandBy {
            wanted: wanted(&graph),
            plugins,
            graph,
            options: options.clone(),
            store,
            workers: process * count..(process + 1) * count,
            peers: count * processes,
            ahead: Arc::default(),
            look_every: if is_asked { ASK_EVERY } else { LOOK_EVERY },
        })
    }

    /// Follows the job's checkpoints, telling of each that is loaded, until `go`, which waits no longer than it is told, says that the
    /// job is to be taken over.
    pub(super) fn until(
        self,
        mut tell: impl FnMut(StandByNews),
        mut go: impl FnMut(Duration) -> bool,
    ) -> Result<PreparedStart> {
        fault::point("handover.loading");
        let (mut last, mut door, mut waiting) = (None, None, 0);
        let failure = Failure::default();
        loop {
            let newest = self.follow(last)?;
            if last != Some(newest) {
                if last.is_none() {
                    fault::point("handover.loaded");
                }
                tell(StandByNews::Loaded(newest));
                last = Some(newest);
                continue;
            }
            let door = match &mut door {
                Some(door) => door,
                none => none.insert(self.door(&failure)?),
            };
            if let StandByPort::Open(_, port) = door
                && waiting != port.waiting()
            {
                waiting = port.waiting();
                tell(StandByNews::Waiting(waiting));
            }
            if go(self.look_every) && door.is_through_within(self.look_every)? {
                break;
            }
        }
        // What the last checkpoint holds, as nobody publishes another one.
        if let Err(error) = self.follow(last) {
            tracing::debug!("what the last checkpoint holds is loaded by the start: {error}");
        }
        fault::point("handover.taken");
        let door = door.unwrap_or(StandByPort::None);
        Ok(PreparedStart { plugins: self.plugins, ahead: self.ahead, door, failure })
    }

    /// Opens the port of process 0, or goes there.
    fn door(&self, failure: &Failure) -> Result<StandByPort> {
        let Some((hello, port)) = open_port(&self.graph, &self.options)? else { return Ok(StandByPort::None) };
        if hello.process == 0 {
            return Ok(StandByPort::Open(hello, port));
        }
        let (sender, answer) = channel();
        let (options, failure, failing) = (self.options.clone(), failure.clone(), sender.clone());
        // Nobody listens any more where this process ends.
        let failed = move |error| drop(failing.send(Err(error)));
        let knock = move || drop(sender.send(connected(&options, Some((hello, port)), Generation(0), &failure)));
        threads::start("millstream-knock", "the thread that waits for process 0", failed, knock)?;
        Ok(StandByPort::Knocks(hello, answer))
    }

    /// Loads the newest checkpoint, unless it is that after the batch `last`; batch 0 where there is none yet.
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
                Err(error) if tries >= FOLLOWED_MAX && self.is_replaced(newest.batch)? => {
                    tracing::debug!("some of the checkpoint is left to the start: {error}");
                    return Ok(newest.batch);
                }
                Ok(()) => {
                    self.ahead.look_at_files(&*self.store, &manifest);
                    return Ok(newest.batch);
                }
                // A newer one has made files of it needless, which were deleted.
                Err(_) if self.is_replaced(newest.batch)? => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the checkpoint after this batch is not the newest one any more.
    fn is_replaced(&self, batch: BatchId) -> Result<bool> {
        Ok(self.manifest()?.newest().map(|newest| newest.batch) != Some(batch))
    }

    fn manifest(&self) -> Result<Manifest> {
        let there = manifest::read(&*self.store)?;
        let missing = || Error::environment(format!("{}: no checkpoint found", self.store.place()));
        there.map(|(manifest, _)| manifest).ok_or_else(missing)
    }
}

/// The tables that stages load row by row. What others keep is little, or is loaded when the job is taken over.
fn wanted(graph: &Graph) -> Vec<WantedTable> {
    let is_of_stage = |table: &Table| {
        let kept_whole = |stage: &StageNode| {
            let by_rows = is_session(stage) || budget_of(stage, graph).is_some();
            table.name == content_table(&stage.name) || (table.name == rows_table(&stage.name) && !by_rows)
        };
        table.of == TableOf::Stage && !graph.stages.iter().any(kept_whole)
    };
    let as_kept = |table: Table| {
        let is_of = |stage: &&StageNode| {
            let beside = [right_table, rows_table, pieces_table, timers::table_name].map(|name| name(&stage.name));
            table.name == stage.name || beside.contains(&table.name)
        };
        let stage = graph.stages.iter().find(is_of);
        let budget = stage.and_then(|stage| budget_of(stage, graph));
        let idle = stage.and_then(|stage| idle_of(stage, &table, budget.is_some()));
        WantedTable { table, idle, budget }
    };
    tables_of(graph).into_iter().filter(is_of_stage).map(as_kept).collect()
}

fn is_session(stage: &StageNode) -> bool {
    matches!(stage.window, Some(WindowNode::Session { .. }))
}

/// What the rows of a stage count against, where they may lie in files.
fn budget_of(stage: &StageNode, graph: &Graph) -> Option<Arc<StateBudget>> {
    match &stage.operator {
        Operator::Update(_, update) => update.budget.clone(),
        _ => graph.budget.clone().filter(|_| stage.may_spill()),
    }
}

/// When the keys of a table are idle, as the stage has it.
fn idle_of(stage: &StageNode, table: &Table, may_spill: bool) -> Option<(IdleBy, i64)> {
    if table.name == pieces_table(&stage.name) || (table.name == rows_table(&stage.name) && !is_session(stage)) {
        return None;
    }
    if let Some(WindowNode::Session { gap_us, .. }) = stage.window {
        return Some((IdleBy::State(0), gap_us));
    }
    match &stage.operator {
        Operator::Update(..) if table.name == timers::table_name(&stage.name) => {
            Some(timers::DUE).filter(|_| may_spill)
        }
        Operator::Update(_, update) => {
            let timeout = update.timeout.map(|timeout| i64::try_from(timeout.as_micros()).unwrap_or(i64::MAX));
            timeout.map(|timeout_us| (IdleBy::Touch, timeout_us))
        }
        Operator::Simple(SimpleNode::Deduplicate { within_us }) => Some((IdleBy::State(0), *within_us)),
        Operator::Join(join) if may_spill => {
            let side = if table.name == stage.name { Side::First } else { Side::Second };
            let interval = join.interval.as_ref().map(|interval| interval.idle(side));
            let as_of = || join.as_of.as_ref().and_then(|as_of| as_of.idle(side.place()));
            interval.or_else(as_of).or_else(|| join.changing.as_ref()?.what.idle())
        }
        _ => None,
    }
}
