//! Shares of one sink, each with its own marker, taken over by starts with other workers in every possible order of events.
//!
//! The decisions are the program's own: [`held`], `commits`, `resolve`, `claim` and `publish` are called here as in the program.
//! The model is of a cluster as `sink/kafka/target` uses it: only the last process that began under a name can commit there, and
//! rows and marker of a share are one step. (An open transaction, which is ended by the next process to begin under its name, is
//! equivalent to none.)
//!
//! **Job.** One sink, one or two workers per start, two batches that are planned before anything else: the first has two rows,
//! one for each of two workers, the second has one. A batch may or may not be followed by a checkpoint.
//!
//! **Failures.** At any two moments, also in the middle of a start, another start begins. The previous process is dead, or
//! continues next to it: one of the two crashes, either, leaves it alive until a third begins.

use super::objects::tables;
use super::state::Named;
use millstream::ids::{BatchId, BatchTime, Generation};
use millstream::internals::checkpoint::resolve::{self, PlannedBatch, StartFacts, StartRequest, commits};
use millstream::internals::checkpoint::types::Checkpoint;
use millstream::internals::sink::shares::{Share, committed_batch};
use stateright::{Model, Property};
use std::collections::BTreeMap;

/// Rows of each batch. Row r of batch b belongs to worker (b + r) modulo the number of workers.
const ROWS: [u8; 2] = [2, 1];
const BATCHES: u8 = ROWS.len() as u8;
/// Starts after the first.
const CRASHES: u8 = 2;

/// The protocol, with at most one rule broken.
pub struct Shares {
    pub bug: Option<ShareBug>,
}

/// A rule that is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShareBug {
    /// One of two markers is ahead, and is used for both workers.
    MarkerOfOthers,
    /// A start uses only the marker of complete batches.
    CompleteOnly,
    /// A start does not fence older starts off the shares that it finds.
    NoFence,
    /// It lists the shares before it claims the sink.
    ListEarly,
    /// A worker begins with a share without checking which start owns the sink.
    NoLook,
    /// Batches that some workers have committed are replayed with other workers.
    OtherWorkers,
}

impl ShareBug {
    pub const ALL: [ShareBug; 6] = [
        ShareBug::MarkerOfOthers,
        ShareBug::CompleteOnly,
        ShareBug::NoFence,
        ShareBug::ListEarly,
        ShareBug::NoLook,
        ShareBug::OtherWorkers,
    ];
}

/// Generation and batch; batch 0: none.
type Marker = Option<(u8, u8)>;

/// The cluster's state of a name: that of complete batches, then those of the two workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Name {
    /// The process that began last under it.
    holder: u8,
    marker: Marker,
}

#[derive(Clone, Debug, PartialEq, Hash)]
pub struct World {
    /// Workers of each start.
    workers: [u8; CRASHES as usize + 1],
    /// Which of the crashes leaves the process alive.
    survived: u8,
    manifest: Option<Named>,
    version: u8,
    names: [Name; 3],
    /// How often each row was written.
    rows: [[u8; 2]; BATCHES as usize],
    job: Option<Process>,
    old: Option<Process>,
    crashes: u8,
    /// A batch was replayed with the previous workers.
    ran_as_before: bool,
    wrong: bool,
}

/// A start, and the job that it becomes.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Process {
    /// By which names know it.
    number: u8,
    step: StartStep,
    manifest: Option<Named>,
    version: u8,
    generation: u8,
    /// The shares that it found, by bit.
    found: u8,
    committed: u8,
    /// Once it runs.
    running: Option<Running>,
}

/// The next step of a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum StartStep {
    Look,
    Begin,
    Write(u8),
    List,
    Fence(u8),
    Read,
    Claim,
}

#[derive(Clone, Debug, PartialEq, Hash)]
struct Running {
    workers: u8,
    /// The last batch that it runs, and whether it ends there and another start follows.
    until: u8,
    as_before: bool,
    /// The last batch that it replays.
    replayed: u8,
    shares: [Worker; 2],
}

/// A worker with its share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Worker {
    /// It has claimed the share and checked the owner.
    open: bool,
    step: WorkerStep,
    /// The batch in its marker.
    own: u8,
    held: u8,
    done: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum WorkerStep {
    #[default]
    Begin,
    Read,
    Write,
    Look,
    Commit,
}

/// The possible events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShareAction {
    /// Another start begins.
    Crash,
    /// The job, or the previous one (`true`), takes the next step of its start.
    Start(bool),
    /// A worker of it takes its next one.
    Work(bool, u8),
    /// It publishes a checkpoint.
    Publish(bool),
}

impl World {
    fn new(workers: [u8; 3], survived: u8) -> World {
        World {
            workers,
            survived,
            manifest: None,
            version: 0,
            names: Default::default(),
            rows: Default::default(),
            job: Some(Process::new(1)),
            old: None,
            crashes: 0,
            ran_as_before: false,
            wrong: false,
        }
    }

    /// Whether the markers show a later start.
    fn is_lost(&self, generation: u8) -> bool {
        self.names.iter().filter_map(|name| name.marker).any(|(by, _)| by > generation)
    }

    /// What the program reads from the markers.
    fn held(&self, share: Share, bug: Option<ShareBug>) -> u8 {
        let complete_only = share.is_none() && bug == Some(ShareBug::CompleteOnly);
        let share = if bug == Some(ShareBug::MarkerOfOthers) { None } else { share };
        let named = (0..).zip(&self.names).take(if complete_only { 1 } else { 3 });
        let markers = named.map(|(place, name): (usize, &Name)| {
            let batch = name.marker.map_or(0, |(_, batch)| batch);
            (place.checked_sub(1), Some(BatchId(batch.into())).filter(|batch| batch.0 > 0))
        });
        committed_batch(markers, share).map_or(0, |batch| batch.0 as u8)
    }

    fn complete(&self) -> bool {
        self.job.as_ref().and_then(|job| job.running.as_ref()).is_some_and(|running| {
            !running.as_before && running.until == BATCHES && running.all().all(|worker| worker.done == BATCHES)
        })
    }
}

impl Process {
    fn new(number: u8) -> Process {
        Process {
            number,
            step: StartStep::Look,
            manifest: None,
            version: 0,
            generation: 0,
            found: 0,
            committed: 0,
            running: None,
        }
    }
}

impl Running {
    fn all(&self) -> impl Iterator<Item = &Worker> {
        self.shares.iter().take(usize::from(self.workers))
    }

    /// The batch of the next checkpoint, once all have committed it.
    fn barrier(&self, newest: u8) -> Option<u8> {
        let done = self.all().map(|worker| worker.done).min().unwrap_or_default();
        (done > newest).then_some(done)
    }
}

impl Model for Shares {
    type State = World;
    type Action = ShareAction;

    fn init_states(&self) -> Vec<World> {
        let pick = |bits: u8, start: u8| 1 + (bits >> start & 1);
        let worlds = (0..8).flat_map(|bits| {
            [1, 2].map(|survived| World::new([pick(bits, 0), pick(bits, 1), pick(bits, 2)], survived))
        });
        worlds.collect()
    }

    fn actions(&self, world: &World, actions: &mut Vec<ShareAction>) {
        if world.wrong {
            return;
        }
        if world.crashes < CRASHES && !world.complete() {
            actions.push(ShareAction::Crash);
        }
        for (old, process) in [(false, &world.job), (true, &world.old)] {
            let Some(process) = process else { continue };
            let Some(running) = &process.running else {
                actions.push(ShareAction::Start(old));
                continue;
            };
            // Workers begin with batches when all have their shares.
            let open = running.all().all(|worker| worker.open);
            for (number, worker) in (0..).zip(running.all()) {
                if worker.step != WorkerStep::Commit || (open && worker.done < running.until) {
                    actions.push(ShareAction::Work(old, number));
                }
            }
            let newest = process.manifest.as_ref().map_or(0, |named| named.newest);
            if open && running.barrier(newest).is_some() {
                actions.push(ShareAction::Publish(old));
            }
        }
    }

    fn next_state(&self, last: &World, action: ShareAction) -> Option<World> {
        let mut world = last.clone();
        let take = |world: &mut World, old: bool| if old { world.old.take() } else { world.job.take() };
        let (old, process) = match action {
            ShareAction::Crash => {
                world.crashes += 1;
                let job = world.job.take();
                world.old = job.filter(|_| world.crashes == world.survived);
                world.job = Some(Process::new(world.crashes + 1));
                return Some(world);
            }
            ShareAction::Start(old) => (old, take(&mut world, old).and_then(|process| self.start(&mut world, process))),
            ShareAction::Work(old, number) => {
                (old, take(&mut world, old).and_then(|process| self.work(&mut world, process, number)))
            }
            ShareAction::Publish(old) => (old, take(&mut world, old).and_then(|process| publish(&mut world, process))),
        };
        match (old, process) {
            (true, process) => world.old = process,
            // A process that lost the job to one that only seemed dead is restarted.
            (false, process) => world.job = process.or_else(|| Some(Process::new(world.crashes + 1))),
        }
        world.wrong |= world.rows.iter().flatten().any(|times| *times > 1);
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Shares>> {
        vec![
            Property::always("no row is there twice", |_, world: &World| !world.wrong),
            Property::always("no row is lost", |_, world: &World| {
                !world.complete()
                    || world
                        .rows
                        .iter()
                        .zip(ROWS)
                        .all(|(times, rows)| times[..usize::from(rows)].iter().all(|n| *n == 1))
            }),
            Property::always("the job ends when all is committed", |shares: &Shares, world: &World| {
                let mut actions = Vec::new();
                shares.actions(world, &mut actions);
                world.wrong || world.complete() || !actions.is_empty()
            }),
            Property::sometimes("all is committed after all crashes", |_, world: &World| {
                world.complete() && world.crashes == CRASHES
            }),
            Property::sometimes("a batch that one worker holds runs again as it was", |_, world: &World| {
                world.complete() && world.ran_as_before
            }),
        ]
    }
}

impl Shares {
    fn is(&self, bug: ShareBug) -> bool {
        self.bug == Some(bug)
    }

    /// The next step of a start. `None`: it has lost the job.
    fn start(&self, world: &mut World, mut process: Process) -> Option<Process> {
        let early = self.is(ShareBug::ListEarly);
        let list = |world: &World| {
            (1..3).filter(|name| world.names[*name].marker.is_some()).fold(0, |all, name| all | 1 << name)
        };
        process.step = match process.step {
            StartStep::Look => {
                process.manifest = world.manifest.clone();
                process.version = world.version;
                process.generation = process.manifest.as_ref().map_or(0, |manifest| manifest.generation) + 1;
                if process.manifest.is_none() { StartStep::Claim } else { StartStep::Begin }
            }
            StartStep::Begin => {
                // Nothing else writes this marker from then on, so it may be read in the same step.
                world.names[0].holder = process.number;
                if world.is_lost(process.generation) {
                    return None;
                }
                if early {
                    process.found = list(world);
                }
                StartStep::Write(world.names[0].marker.map_or(0, |(_, batch)| batch))
            }
            StartStep::Write(_) if world.names[0].holder != process.number => StartStep::Begin,
            StartStep::Write(batch) => {
                world.names[0].marker = Some((process.generation, batch));
                StartStep::List
            }
            StartStep::List => {
                if !early {
                    process.found = list(world);
                }
                if self.is(ShareBug::NoFence) { StartStep::Read } else { StartStep::Fence(1) }
            }
            StartStep::Fence(name) => {
                if process.found & 1 << name != 0 {
                    world.names[usize::from(name)].holder = process.number;
                }
                if name < 2 { StartStep::Fence(name + 1) } else { StartStep::Read }
            }
            StartStep::Read => {
                if world.is_lost(process.generation) {
                    return None;
                }
                process.committed = world.held(None, self.bug);
                StartStep::Claim
            }
            StartStep::Claim => return self.claim(world, process),
        };
        Some(process)
    }

    fn claim(&self, world: &mut World, mut process: Process) -> Option<Process> {
        let expected = StartRequest {
            job_digest: "ab".into(),
            workers: world.workers[usize::from(process.number) - 1].into(),
            tables: tables(Vec::new()),
            ..StartRequest::default()
        };
        let committed = Some(process.committed).filter(|batch| *batch > 0);
        let planned = PlannedBatch { time: BatchTime(0), generation: Generation(1), made_up: false };
        let found = StartFacts {
            manifest: process.manifest.as_ref().map(|named| (*named.manifest).clone()),
            planned: (1..=BATCHES).map(|batch| (BatchId(batch.into()), planned)).collect(),
            committed: committed.map(|batch| ("out".to_owned(), BatchId(batch.into()))).into_iter().collect(),
            ..StartFacts::default()
        };
        let mut resume = resolve::resolve(&found, &expected).expect("nothing is damaged");
        if self.is(ShareBug::OtherWorkers) {
            resume.as_before = None;
        }
        if world.version != process.version {
            return None;
        }
        let manifest = resolve::claim(found.manifest.as_ref(), &resume, &expected, "job", "id");
        let workers = manifest.starts.last().map_or(0, |start| start.workers as u8);
        let named = Named::new(manifest);
        world.version += 1;
        world.manifest = Some(named.clone());
        let first = Worker { done: resume.checkpoint.0 as u8, ..Worker::default() };
        process.running = Some(Running {
            workers,
            until: resume.as_before.map_or(BATCHES, |batch| batch.0 as u8),
            as_before: resume.as_before.is_some(),
            replayed: resume.replay.last().map_or(0, |(batch, _)| batch.0 as u8),
            shares: [first; 2],
        });
        process.generation = named.generation;
        process.version = world.version;
        process.manifest = Some(named);
        Some(process)
    }

    /// The next step of a worker. `None`: its job is lost.
    fn work(&self, world: &mut World, mut process: Process, number: u8) -> Option<Process> {
        let running = process.running.as_mut()?;
        let mut worker = running.shares[usize::from(number)];
        let (name, share) = (usize::from(number) + 1, Some(usize::from(number)));
        let has_name = world.names[name].holder == process.number;
        worker.step = match worker.step {
            WorkerStep::Begin => {
                world.names[name].holder = process.number;
                WorkerStep::Read
            }
            WorkerStep::Read => {
                if world.is_lost(process.generation) {
                    return None;
                }
                worker.own = world.names[name].marker.map_or(0, |(_, batch)| batch);
                let next = worker.done + 1;
                let held = world.held(share, self.bug);
                if !worker.open {
                    WorkerStep::Write
                } else {
                    // The response to its commit was lost, or the commit must be repeated.
                    worker.done = if held >= next { next } else { worker.done };
                    WorkerStep::Commit
                }
            }
            WorkerStep::Write if !has_name => WorkerStep::Begin,
            WorkerStep::Write => {
                world.names[name].marker = Some((process.generation, worker.own));
                WorkerStep::Look
            }
            WorkerStep::Look => {
                if world.is_lost(process.generation) && !self.is(ShareBug::NoLook) {
                    return None;
                }
                (worker.open, worker.held) = (true, world.held(share, self.bug));
                WorkerStep::Commit
            }
            WorkerStep::Commit => {
                let batch = worker.done + 1;
                let held = Some(worker.held).filter(|held| *held > 0 && batch <= running.replayed);
                let rows = (0..ROWS[usize::from(batch) - 1]).filter(|row| (batch + row) % running.workers == number);
                let rows: Vec<u8> = rows.collect();
                let skips = !commits(BatchId(batch.into()), held.map(|held| BatchId(held.into())));
                if !skips && !rows.is_empty() && !has_name {
                    WorkerStep::Begin
                } else {
                    if !skips && !rows.is_empty() {
                        for row in rows {
                            world.rows[usize::from(batch) - 1][usize::from(row)] += 1;
                        }
                        world.names[name].marker = Some((process.generation, batch));
                        worker.held = batch;
                    }
                    worker.done = batch;
                    WorkerStep::Commit
                }
            }
        };
        running.shares[usize::from(number)] = worker;
        Some(process)
    }
}

/// A checkpoint. A job that only replayed is followed by another start after it.
fn publish(world: &mut World, mut process: Process) -> Option<Process> {
    if world.version != process.version {
        return None;
    }
    let (named, running) = process.manifest.as_ref().zip(process.running.as_ref())?;
    let batch = running.barrier(named.newest)?;
    let checkpoint = Checkpoint {
        batch: BatchId(batch.into()),
        time: BatchTime(0),
        generation: Generation(process.generation.into()),
        written: 0,
        tables: tables(Vec::new()),
        sinks: BTreeMap::new(),
        leftover: false,
    };
    let named = Named::new(resolve::publish(&named.manifest, checkpoint));
    world.version += 1;
    world.manifest = Some(named.clone());
    if running.as_before && batch == running.until {
        world.ran_as_before = true;
        return Some(Process::new(process.number));
    }
    process.version = world.version;
    process.manifest = Some(named);
    Some(process)
}
