//! The job, its machines, and what happens to them.

use super::faults::Fault;
use super::reader::{Reader, key};
use millstream_tests::network::{Link, Network};
use millstream_tests::{Process, Random, Trial, clock_library, holds_within, plugin};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long it may take until rows arrive again after all faults, on a machine that is busy with other tests.
const BACK_MAX: Duration = Duration::from_secs(60);
const FEED_EVERY: Duration = Duration::from_millis(25);
const ROWS_OF_A_FILE: i64 = 20;
/// The message of a process that has lost another.
const LOST: &str = "the connection to another process of the job broke";

/// The messages of a process that waits for others, and of one that does not.
const WAITS: [&str; 2] = ["waiting for 1 of 3 processes", "cannot connect to process 0"];
const RUNS: [&str; 2] = ["resumes after the checkpoint", "begins at batch"];

fn job() -> String {
    format!(
        r#"
        name = "faults"
        batch = "10ms"
        workers = 1
        [checkpoint]
        dir = "checkpoint"
        every = "200ms"
        [sources.lines]
        kind = "directory"
        path = "in"
        spread = true
        poll = "20ms"
        format = "json"
        schema = {{ n = "int64", k = "int64" }}
        [stages.entries]
        from = "lines"
        key = "k"
        plugin = "{}"
        [sinks.log]
        from = "entries"
        kind = "queue"
        path = "log.jsonl"
        [sinks.parts]
        from = "entries"
        kind = "files"
        path = "out"
        parts = "worker"
        "#,
        plugin("ledger").display()
    )
}

/// Machines with a supervisor each, which share a directory.
pub struct Machines {
    trial: Trial,
    network: Network,
    clock: PathBuf,
    /// Arguments of all of them.
    more: Vec<&'static str>,
    supervisors: Vec<Option<Process>>,
    /// The output of exited processes.
    said: Vec<String>,
    reader: Option<Reader>,
    feeder: Option<JoinHandle<()>>,
    fed: Arc<AtomicI64>,
    full: Arc<AtomicBool>,
}

impl Machines {
    /// Starts the job, what it reads and who looks at it.
    pub fn start(network: Network, more: &[&'static str]) -> Machines {
        let trial = Trial::new(&job());
        let secret = trial.write("cluster.key", "0123456789abcdef".repeat(4));
        std::fs::set_permissions(secret, PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::create_dir(trial.path("in")).unwrap();
        let clock = clock_library(trial.dir());
        let (fed, full) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicBool::new(false)));
        let feeder = feed(trial.dir().to_owned(), fed.clone(), full.clone());
        let reader = Some(Reader::start(trial.dir()));
        let count = network.machines();
        let mut machines = Machines {
            trial,
            network,
            clock,
            more: more.to_vec(),
            supervisors: (0..count).map(|_| None).collect(),
            said: vec![String::new(); count],
            reader,
            feeder: Some(feeder),
            fed,
            full,
        };
        for machine in 0..count {
            machines.set_clock(machine, 0);
            machines.run(machine);
        }
        machines
    }

    /// Starts the supervisor of a machine.
    fn run(&mut self, machine: usize) {
        let (number, hosts) = (machine.to_string(), self.network.hosts(machine));
        let arguments =
            ["run", "job.toml", "--no-ui", "--process", &number, "--hosts", &hosts, "--cluster-key", "cluster.key"];
        let mut command = self.trial.command(&[&arguments[..], &self.more].concat());
        let own = self.trial.path(&format!("machine-{machine}"));
        std::fs::create_dir_all(&own).unwrap();
        command.env("XDG_RUNTIME_DIR", &own).env("TMPDIR", &own);
        command.env("LD_PRELOAD", &self.clock).env("CLOCK_OFFSET", own.join("clock"));
        self.network.place(machine, &mut command);
        self.supervisors[machine] = Some(Process::start(&mut command));
    }

    fn set_clock(&self, machine: usize, seconds: i64) {
        let name = format!("machine-{machine}/clock");
        // A reader must not see half of it.
        self.trial.write(&format!("{name}.next"), seconds.to_string());
        std::fs::rename(self.trial.path(&format!("{name}.next")), self.trial.path(&name)).unwrap();
    }

    /// The worker processes of a machine.
    fn workers(&self, machine: usize) -> Vec<u32> {
        self.supervisors[machine].as_ref().map_or_else(Vec::new, Process::children)
    }

    /// Runs all faults of an episode, from its beginning to its end.
    pub fn run_faults(&mut self, faults: Vec<Fault>, random: &mut Random) -> Result<(), String> {
        let mut events = Vec::new();
        for fault in faults {
            let begins = random.from(0, 200);
            // Half of them end before any process must detect them.
            let lasts = if random.from(1, 2) == 1 { random.from(50, 900) } else { random.from(1700, 2600) };
            events.extend([(begins, fault, true), (begins + lasts, fault, false)]);
        }
        events.sort_by_key(|(at, ..)| *at);
        let began = Instant::now();
        let mut there: Vec<Fault> = Vec::new();
        // Whom a stop has stopped.
        let mut stopped: Vec<(Fault, u32)> = Vec::new();
        for (at, fault, begins) in events {
            thread::sleep(Duration::from_millis(at).saturating_sub(began.elapsed()));
            if begins {
                there.push(fault)
            } else {
                there.retain(|other| *other != fault)
            }
            self.set_links(&there);
            match (fault, begins) {
                (Fault::Stopped(machine), true) => {
                    stopped.extend(self.workers(machine).into_iter().map(|id| (fault, id)));
                }
                (Fault::Frozen(machine), true) => {
                    stopped.extend(self.supervisors[machine].iter().map(|supervisor| (fault, supervisor.id())));
                    stopped.extend(self.workers(machine).into_iter().map(|id| (fault, id)));
                }
                (Fault::Killed(machine), true) => {
                    self.workers(machine).into_iter().for_each(|id| send(libc::SIGKILL, id));
                }
                (Fault::Crashed(machine) | Fault::HalfOpen(machine), true) => self.crash(machine),
                (Fault::Crashed(machine) | Fault::HalfOpen(machine), false) => self.run(machine),
                (Fault::Ahead(machine), true) => self.set_clock(machine, 3600),
                (Fault::Behind(machine), true) => self.set_clock(machine, -3600),
                (Fault::Ahead(machine) | Fault::Behind(machine), false) => self.set_clock(machine, 0),
                (Fault::Waiting, true) => {
                    self.crash(2);
                    self.waits(1)?;
                    self.workers(0).into_iter().for_each(|id| send(libc::SIGKILL, id));
                }
                (Fault::Waiting, false) => self.run(2),
                _ => {}
            }
            for (_, id) in stopped.iter().filter(|(of, _)| *of == fault && begins) {
                send(libc::SIGSTOP, *id);
            }
            for (_, id) in stopped.iter().filter(|(of, _)| *of == fault && !begins) {
                send(libc::SIGCONT, *id);
            }
        }
        self.check_health()
    }

    fn set_links(&self, there: &[Fault]) {
        for from in 0..self.network.machines() {
            for to in 0..self.network.machines() {
                let mut link = Link::default();
                there.iter().for_each(|fault| fault.changes(from, to, &mut link));
                self.network.set(from, to, link);
            }
        }
    }

    /// Cuts the link between two machines until they have lost each other; then long enough that each process that fails must
    /// have been restarted.
    pub fn cut_for(&mut self, pair: (usize, usize), time: Duration) -> Result<(), String> {
        let lost = |machines: &Machines| [pair.0, pair.1].map(|machine| machines.lost(machine));
        let before = lost(self);
        self.set_links(&[Fault::Cut(pair.0, pair.1)]);
        let noticed = holds_within(BACK_MAX, || lost(self).iter().zip(before).all(|(now, before)| *now > before));
        if !noticed {
            return Err(format!("nobody notices\n{}", self.last_output()));
        }
        // The test waits to see that nothing happens.
        let mut looked = Ok(());
        holds_within(time, || {
            looked = self.check_health();
            looked.is_err()
        });
        self.set_links(&[]);
        looked
    }

    /// Kills all processes of a machine immediately.
    fn crash(&mut self, machine: usize) {
        if let Some(supervisor) = self.supervisors[machine].take() {
            self.said[machine].push_str(&supervisor.stderr());
            supervisor.kill_all();
        }
    }

    /// Waits until a process waits for others after it detected that one was lost.
    fn waits(&self, machine: usize) -> Result<(), String> {
        let Some(supervisor) = &self.supervisors[machine] else { return Ok(()) };
        let waits = || {
            let said = supervisor.stderr();
            let last = |strings: &[&str]| strings.iter().filter_map(|strings| said.rfind(strings)).max();
            last(&WAITS) > last(&RUNS)
        };
        if holds_within(BACK_MAX, waits) {
            Ok(())
        } else {
            Err(format!("process {machine} does not wait\n{}", self.last_output()))
        }
    }

    /// Checks that no supervisor has exited on its own, and the reader has found no error.
    fn check_health(&mut self) -> Result<(), String> {
        let gone = |place: &mut Option<Process>| place.as_mut().is_some_and(Process::has_ended);
        if let Some(machine) = self.supervisors.iter_mut().position(gone) {
            return Err(format!("the supervisor of machine {machine} has ended\n{}", self.last_output()));
        }
        if self.reader.as_ref().is_some_and(Reader::has_ended)
            && let Some(reader) = self.reader.take()
        {
            return Err(format!("reader: {:?}\n{}", reader.stop(0).err(), self.last_output()));
        }
        Ok(())
    }

    fn batches(&self) -> u64 {
        self.reader.as_ref().map_or(0, |reader| reader.progress.batches.load(Ordering::Relaxed))
    }

    /// Waits for output of batches that begin from now on; returns how long it took.
    pub fn wait_for_progress(&mut self, what: &str) -> Result<Duration, String> {
        let (began, before) = (Instant::now(), self.batches());
        let mut looked = Ok(());
        // The next output may have been in progress.
        let came = holds_within(BACK_MAX, || {
            looked = self.check_health();
            looked.is_err() || self.batches() > before + 2
        });
        looked?;
        if came { Ok(began.elapsed()) } else { Err(format!("in vain: {what}\n{}", self.last_output())) }
    }

    /// How often processes logged a lost peer.
    pub fn losses(&self) -> u64 {
        (0..self.supervisors.len()).map(|machine| self.lost(machine)).sum()
    }

    fn lost(&self, machine: usize) -> u64 {
        let now = self.supervisors[machine].as_ref().map(Process::stderr);
        now.iter().chain([&self.said[machine]]).map(|said| said.matches(LOST).count() as u64).sum()
    }

    /// Waits until all rows are output, stops the job, and compares.
    pub fn finish(mut self) -> Result<u64, String> {
        self.network.heal();
        self.full.store(true, Ordering::Release);
        self.feeder.take().map(JoinHandle::join);
        let rows = self.fed.load(Ordering::Acquire);
        let mut looked = Ok(());
        let came = holds_within(BACK_MAX, || {
            looked = self.check_health();
            let seen = self.reader.as_ref().map_or(0, |reader| reader.progress.rows.load(Ordering::Relaxed));
            looked.is_err() || seen >= rows as u64
        });
        looked?;
        if !came {
            let output = self.reader.take().map(|reader| reader.stop(rows).err());
            return Err(format!("not all rows come: {output:?}\n{}", self.last_output()));
        }
        for machine in 0..self.supervisors.len() {
            if let Some(supervisor) = self.supervisors[machine].take() {
                supervisor.signal("TERM");
                let ended = supervisor.wait();
                if ended.code != Some(0) {
                    return Err(format!(
                        "machine {machine} ends with {:?}\n{}\n{}",
                        ended.code,
                        ended.stderr,
                        self.last_output()
                    ));
                }
            }
        }
        self.reader.take().map_or(Ok(0), |reader| reader.stop(rows))
    }

    /// The last output of all processes.
    fn last_output(&self) -> String {
        let output = |(machine, place): (usize, &Option<Process>)| {
            let now = place.as_ref().map_or_else(String::new, Process::stderr);
            let all = format!("{}{now}", self.said[machine]);
            let from = all.char_indices().rev().nth(6000).map_or(0, |(at, _)| at);
            format!("--- machine {machine}\n{}", &all[from..])
        };
        self.supervisors.iter().enumerate().map(|(machine, place)| output((machine, place))).collect()
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        self.full.store(true, Ordering::Release);
        for machine in 0..self.supervisors.len() {
            if let Some(supervisor) = self.supervisors[machine].take() {
                // A suspended process does not notice that its supervisor dies.
                supervisor.kill_all();
            }
        }
    }
}

/// Moves files of rows into the directory until there are enough.
fn feed(dir: PathBuf, fed: Arc<AtomicI64>, full: Arc<AtomicBool>) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut first = 1;
        while !full.load(Ordering::Acquire) {
            let rows = first..first + ROWS_OF_A_FILE;
            let lines: String = rows.map(|n| format!("{{\"n\":{n},\"k\":{}}}\n", key(n))).collect();
            let (made, name) = (dir.join("next.jsonl"), format!("in/{first:09}.jsonl"));
            // The directory may be deleted if the test has failed.
            if std::fs::write(&made, lines).and_then(|()| std::fs::rename(&made, dir.join(name))).is_err() {
                return;
            }
            first += ROWS_OF_A_FILE;
            fed.store(first - 1, Ordering::Release);
            thread::sleep(FEED_EVERY);
        }
    })
}

/// Sends a signal to a process, if it exists.
fn send(signal: libc::c_int, id: u32) {
    // SAFETY: it takes two numbers.
    unsafe { libc::kill(id as libc::pid_t, signal) };
}
