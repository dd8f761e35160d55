//! The kill loop: a job is killed repeatedly, at named steps and at random moments, until it has completed.

use crate::{Process, holds_within};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long a life waits for the step at which it is to die. A step that does not occur is not a failure: for example, a job
/// without batches to replay never replays.
const STEP_MAX: Duration = Duration::from_secs(2);
/// How long a job may take to complete once it is no longer killed.
const END_MAX: Duration = Duration::from_secs(60);
/// The supervisor's message for a worker process that was killed.
const DIED: &str = "died (signal 9)";
/// The supervisor's messages for a single worker process that ended with an error or a panic. A kill must not cause one. (Of
/// several processes, one may report a lost peer before that peer is seen to be dead.)
const FAILED: [&str; 2] = ["worker process failed", "worker process ended unexpectedly"];

/// The supervisor's messages if it is stopped without a worker process that could finish.
const STOPPED: [&str; 2] = ["stopped; uncommitted rows follow", "died (signal 9) while it stopped"];

/// The supervisor's messages when the job runs.
const RUNS: [&str; 2] = ["resumes after the checkpoint", "begins at batch"];

/// Numbers that look random and are the same for the same seed (splitmix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers of this seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from `first` to `last`.
    pub fn from(&mut self, first: u64, last: u64) -> u64 {
        first + self.number() % (last - first + 1)
    }

    /// Returns one of these.
    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.from(0, all.len() as u64 - 1) as usize]
    }
}

/// A step at which the program can be made to exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// Its name in the program.
    pub name: &'static str,
    /// The process dies when it passes it for a time between these.
    pub passes: (u64, u64),
    /// It is part of a checkpoint.
    pub inside: bool,
}

const fn point(name: &'static str, first: u64, last: u64) -> Point {
    Point { name, passes: (first, last), inside: false }
}

const fn inside(name: &'static str, first: u64, last: u64) -> Point {
    Point { name, passes: (first, last), inside: true }
}

/// Every named step of plan, checkpoint, commit, start and replay. A start that claims the job replaces the manifest for the
/// first time, so the second time belongs to a checkpoint.
pub const POINTS: [Point; 21] = [
    inside("checkpoint.state", 1, 6),
    point("plan.before", 1, 15),
    point("commit.before", 1, 15),
    inside("manifest.before", 2, 2),
    point("commit.written", 1, 15),
    point("start.recorded", 1, 1),
    inside("checkpoint.published", 1, 4),
    point("plan.durable", 1, 15),
    point("start.claim", 1, 1),
    inside("checkpoint.state-written", 1, 6),
    point("commit.marked", 1, 15),
    point("store.append", 1, 15),
    inside("manifest.after", 2, 2),
    point("commit.after", 1, 15),
    point("start.claimed", 1, 1),
    inside("checkpoint.manifest", 1, 4),
    point("replay.batch", 1, 2),
    point("start.sink", 1, 2),
    inside("checkpoint.tidied", 1, 4),
    point("store.write", 1, 14),
    point("start.loaded", 1, 1),
];

/// Simulates a disk that loses unsynced data when the process dies, if the program supports it.
pub const FORGETFUL: &str = if cfg!(feature = "planted-bugs") { "lose-unsynced" } else { "" };

/// The steps of an upgrade of a running job, and steps that may coincide with it.
pub const UPGRADE_POINTS: [Point; 12] = [
    point("upgrade.prepared", 1, 3),
    point("upgrade.barrier", 1, 3),
    point("commit.marked", 1, 40),
    point("upgrade.recorded", 1, 3),
    point("upgrade.published", 1, 3),
    point("start.claimed", 1, 1),
    point("upgrade.swapped", 1, 3),
    inside("checkpoint.state-written", 1, 12),
    point("upgrade.migrated", 1, 1),
    point("replay.batch", 1, 2),
    inside("checkpoint.published", 1, 12),
    point("commit.after", 1, 40),
];

/// The steps of rescaling, and steps that may coincide with it.
pub const SCALE_POINTS: [Point; 16] = [
    point("handover.loading", 1, 1),
    point("handover.barrier", 1, 1),
    point("handover.claimed", 1, 1),
    point("commit.after", 1, 60),
    point("handover.loaded", 1, 1),
    point("handover.save", 1, 1),
    inside("handover.published", 1, 1),
    point("handover.started", 1, 1),
    point("plan.durable", 1, 60),
    point("handover.claim", 1, 1),
    point("handover.ending", 1, 1),
    inside("handover.publish", 1, 1),
    point("handover.taken", 1, 1),
    point("handover.handed", 1, 1),
    inside("checkpoint.state-written", 1, 12),
    point("replay.batch", 1, 2),
];

/// The steps of a sink that commits with server transactions: before, within and after a transaction.
pub const TRANSACTION_POINTS: [Point; 6] = [
    point("commit.marked", 1, 40),
    point("commit.written", 1, 40),
    point("start.sink", 1, 2),
    point("commit.after", 1, 40),
    point("commit.before", 1, 40),
    point("replay.batch", 1, 2),
];

/// The steps of a start that replays batches, and those of the checkpoints during it.
pub const REPLAY_POINTS: [Point; 9] = [
    point("replay.batch", 1, 60),
    inside("checkpoint.published", 1, 4),
    inside("checkpoint.state-written", 1, 12),
    point("replay.batch", 2, 9),
    inside("manifest.before", 2, 4),
    point("start.loaded", 1, 1),
    inside("checkpoint.tidied", 1, 9),
    inside("manifest.after", 2, 4),
    point("start.claimed", 1, 1),
];

/// Kept up while batches pile up that no checkpoint holds.
const NO_CHECKPOINT: &str = "hold@checkpoint.manifest:1";

/// The counts of a loop so far.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Deaths of worker processes, with or without their supervisor.
    pub kills: u64,
    /// Kills within a checkpoint.
    pub inside: u64,
    /// Restarts of the job, by its supervisor or by the loop.
    pub restarts: u64,
    /// Rows compared at the ends of jobs.
    pub rows: u64,
    /// Deaths at each named step.
    pub at: BTreeMap<&'static str, u64>,
    /// Successful upgrades, by the new version.
    pub upgrades: BTreeMap<&'static str, u64>,
}

impl Tally {
    /// Adds what another loop has done.
    pub fn add(&mut self, other: &Tally) {
        self.kills += other.kills;
        self.inside += other.inside;
        self.restarts += other.restarts;
        self.rows += other.rows;
        for (name, deaths) in &other.at {
            *self.at.entry(name).or_default() += deaths;
        }
        for (version, times) in &other.upgrades {
            *self.upgrades.entry(version).or_default() += times;
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { kills, inside, restarts, rows, at, upgrades } = self;
        let named: u64 = at.values().sum();
        let points = at.len();
        let upgrades: u64 = upgrades.values().sum();
        write!(
            f,
            "{kills} kills, {inside} of them inside a checkpoint, {named} at {points} named steps; {restarts} restarts, \
             {upgrades} upgrades; {rows} rows compared"
        )
    }
}

/// A job that can be killed and restarted.
pub trait Victim {
    /// Its directory.
    fn dir(&self) -> &Path;
    /// Starts the program with this many workers, and faults for the environment variable `MILLSTREAM_TEST_FAULT`.
    fn start(&self, workers: u64, faults: &str) -> Process;
    /// Whether all its work is visible, for a job that does not end on its own.
    fn done(&self) -> bool {
        false
    }
}

/// Decides when to kill.
#[derive(Clone, Debug)]
pub struct Killer {
    /// Decides everything that is left open.
    pub random: Random,
    /// The steps to die at next, in this order and then from the beginning.
    points: Vec<Point>,
    /// Points within a checkpoint, which alternate with the others.
    inside: Vec<Point>,
    /// Planted bugs, active in every life.
    pub bugs: String,
    /// How long a life waits for its step: [`STEP_MAX`], or longer if a start contacts a server.
    step_max: Duration,
    /// Also kill at random moments.
    anytime: bool,
    /// One of three lives makes no checkpoint, so that the next one has many batches to replay.
    piles_up: bool,
    /// Steps at which it dies at least once.
    musts: Vec<&'static str>,
    /// The counts so far.
    pub tally: Tally,
}

/// How a life ended.
enum Life {
    Killed,
    /// The job has completed.
    Done,
}

impl Killer {
    /// Kills at all points and at random moments. `part` (of 3) is the third of the points that comes first, so that three loops
    /// cover all.
    pub fn new(seed: u64, part: usize) -> Killer {
        let (mut inside, mut points): (Vec<_>, Vec<_>) = POINTS.iter().partition(|point| point.inside);
        for points in [&mut inside, &mut points] {
            let first = points.len() * part / 3;
            points.rotate_left(first);
        }
        let first = |points: &[Point]| points[..points.len().div_ceil(3)].to_vec();
        let musts = [first(&inside), first(&points)].concat().iter().map(|point| point.name).collect();
        Killer { anytime: true, inside, musts, ..Killer::at(seed, &points, "") }
    }

    /// Kills at all points and at random moments, none of which is required.
    pub fn of_anything(seed: u64) -> Killer {
        Killer { anytime: true, ..Killer::at(seed, &POINTS, "") }
    }

    /// Kills at the steps of upgrades, and at random moments.
    pub fn of_upgrades(seed: u64) -> Killer {
        let all = UPGRADE_POINTS.iter().map(|point| point.name);
        let musts = all.filter(|name| name.starts_with("upgrade.")).collect();
        Killer { anytime: true, musts, ..Killer::at(seed, &UPGRADE_POINTS, "") }
    }

    /// Kills at the steps of rescaling and at random moments, none of which is required.
    pub fn of_scaling(seed: u64) -> Killer {
        Killer { anytime: true, ..Killer::at(seed, &SCALE_POINTS, "") }
    }

    /// Kills in and around transactions, and at random moments.
    pub fn of_transactions(seed: u64) -> Killer {
        let musts = vec!["commit.marked", "commit.written", "start.sink", "commit.after"];
        Killer { anytime: true, musts, ..Killer::at(seed, &TRANSACTION_POINTS, "") }.patient()
    }

    /// Kills starts that have many batches to replay, several in a row before one completes.
    pub fn of_replays(seed: u64) -> Killer {
        let musts = vec!["replay.batch"];
        Killer { anytime: true, piles_up: true, musts, ..Killer::at(seed, &REPLAY_POINTS, "") }
    }

    /// Waits longer for steps, for jobs whose start contacts a server first.
    pub fn patient(self) -> Killer {
        Killer { step_max: Duration::from_secs(15), ..self }
    }

    /// The next step to die at is this one, unless something died there before.
    pub fn next_at(&mut self, name: &str) {
        if let Some(place) =
            self.points.iter().position(|point| point.name == name && !self.tally.at.contains_key(name))
        {
            self.points.rotate_left(place);
        }
    }

    /// Kills at these points only, with planted bugs.
    pub fn at(seed: u64, points: &[Point], bugs: &str) -> Killer {
        let (points, inside) = (points.to_vec(), Vec::new());
        let (random, tally) = (Random::new(seed), Tally::default());
        let (step_max, musts) = (STEP_MAX, Vec::new());
        Killer { random, points, inside, bugs: bugs.into(), step_max, anytime: false, piles_up: false, musts, tally }
    }

    /// Whether there were enough kills, and kills at the required steps.
    pub fn is_done(&self, kills: u64) -> bool {
        self.tally.kills >= kills && (kills == 0 || self.musts.iter().all(|name| self.tally.at.contains_key(name)))
    }

    /// Runs a job to its end, and kills it until [`is_done`](Killer::is_done). An error is a failure of the job, with its output.
    pub fn run(&mut self, job: &dyn Victim, kills: u64) -> Result<(), String> {
        while !self.is_done(kills) {
            let life = self.life(job)?;
            free(job)?;
            if let Life::Done = life {
                return Ok(());
            }
            self.tally.restarts += 1;
        }
        let workers = self.random.from(1, 3);
        let mut process = job.start(workers, &self.bugs);
        holds_within(END_MAX, || job_has_ended(&mut process, job));
        finish(job, process).map(drop)
    }

    /// Runs one start of the program until it is killed or done.
    fn life(&mut self, job: &dyn Victim) -> Result<Life, String> {
        let workers = self.random.from(1, 3);
        if self.piles_up && self.random.from(1, 3) == 1 {
            let process = job.start(workers, format!("{NO_CHECKPOINT},{}", self.bugs).trim_end_matches(','));
            return self.kill_anytime(job, process);
        }
        let named = !self.anytime || self.random.from(1, 6) > 1;
        let mut process;
        if named {
            let point = self.point();
            let pass = self.random.from(point.passes.0, point.passes.1);
            let faults = format!("kill@{}:{pass},{}", point.name, self.bugs);
            process = job.start(workers, faults.trim_end_matches(','));
            holds_within(self.step_max, || job_has_ended(&mut process, job) || process.stderr().contains(DIED));
            if process.stderr().contains(DIED) {
                *self.tally.at.entry(point.name).or_default() += 1;
                self.tally.inside += u64::from(point.inside);
                self.tally.kills += 1;
                if !self.anytime || self.random.from(1, 2) == 1 {
                    // Including its supervisor.
                    process.kill();
                    return Ok(Life::Killed);
                }
                self.tally.restarts += 1;
            } else if self.anytime && !point.inside {
                // The point is used again soon, after other steps.
                self.points.rotate_right(1);
                let next = self.points.len().min(2) - 1;
                self.points.swap(0, next);
            }
        } else {
            process = job.start(workers, &self.bugs);
        }
        self.kill_anytime(job, process)
    }

    /// Kills the worker process, or the supervisor and so both, some time from now.
    fn kill_anytime(&mut self, job: &dyn Victim, mut process: Process) -> Result<Life, String> {
        if self.over_within(700, &mut process, job) {
            return finish(job, process);
        }
        let children = process.children();
        if !children.is_empty() && self.random.from(1, 2) == 1 {
            children.iter().for_each(|child| send("KILL", *child));
            self.tally.kills += 1;
            self.tally.restarts += 1;
            if self.over_within(500, &mut process, job) {
                return finish(job, process);
            }
        }
        self.tally.kills += u64::from(!process.children().is_empty());
        process.kill();
        Ok(Life::Killed)
    }

    /// Whether the job completes within a random time of at most this number of milliseconds.
    fn over_within(&mut self, max: u64, process: &mut Process, job: &dyn Victim) -> bool {
        let time = Duration::from_millis(self.random.from(1, max));
        holds_within(time, || job_has_ended(process, job))
    }

    /// The next step to die at. At least a third of all kills are to lie inside a checkpoint.
    fn point(&mut self) -> Point {
        let due = !self.inside.is_empty() && self.tally.inside * 3 < self.tally.kills + 6;
        let points = if due { &mut self.inside } else { &mut self.points };
        points.rotate_left(1);
        points[points.len() - 1]
    }
}

/// Whether a job has ended, successfully or not.
fn job_has_ended(process: &mut Process, job: &dyn Victim) -> bool {
    process.has_ended() || job.done() || failed(process)
}

fn failed(process: &Process) -> bool {
    let output = process.stderr();
    FAILED.iter().any(|text| output.contains(text))
}

/// The end of a job that has ended, or is to be stopped as all is done.
fn finish(job: &dyn Victim, mut process: Process) -> Result<Life, String> {
    if failed(&process) {
        return Err(format!("the job fails\n{}", process.stderr()));
    }
    // Before it runs, it may not listen to signals yet.
    holds_within(END_MAX, || {
        process.has_ended() || !job.done() || RUNS.iter().any(|text| process.stderr().contains(text))
    });
    if !process.has_ended() && job.done() {
        process.signal("TERM");
    }
    if !holds_within(END_MAX, || process.has_ended()) {
        return Err(format!("the job does not come to its end\n{}", process.stderr()));
    }
    let ended = process.wait();
    match ended.code {
        Some(0) => Ok(Life::Done),
        // It was stopped when its worker process had just been killed.
        Some(1) if STOPPED.iter().any(|text| ended.stderr.contains(text)) => Ok(Life::Killed),
        code => Err(format!("the job failed ({code:?})\n{}", ended.stderr)),
    }
}

/// Waits until no process holds the job's checkpoint directory: a worker process exits a moment after its supervisor.
fn free(job: &dyn Victim) -> Result<(), String> {
    let free = || match File::open(job.dir().join("checkpoint/lock")) {
        Ok(lock) => lock.try_lock_shared().is_ok(),
        Err(_) => true,
    };
    if holds_within(END_MAX, free) { Ok(()) } else { Err("a worker process does not die with its supervisor".into()) }
}

/// Sends a signal to a process that may be gone already.
fn send(name: &str, id: u32) {
    let sent = Command::new("kill").args([&format!("-{name}"), &id.to_string()]).stderr(Stdio::null()).status();
    sent.expect("there is a program `kill`");
}
