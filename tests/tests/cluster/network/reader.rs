//! Checks the job's output all the time, against its own computation.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Every row whose number is a multiple of this closes its key's account.
const CLOSES: i64 = 17;
const KEYS: i64 = 300;

/// The key of a row.
pub fn key(n: i64) -> i64 {
    // Some are frequent, most are rare.
    let mixed = (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    (if mixed.is_multiple_of(3) { mixed / 3 % 5 } else { mixed / 3 % KEYS as u64 }) as i64
}

/// State shared by both of them.
#[derive(Default)]
pub struct Progress {
    /// The number of batches and rows in the output.
    pub batches: AtomicU64,
    pub rows: AtomicU64,
    stop: AtomicBool,
}

/// The thread that looks.
pub struct Reader {
    pub progress: Arc<Progress>,
    thread: JoinHandle<Result<Seen, String>>,
}

/// What it has seen.
#[derive(Default)]
pub struct Seen {
    queue: Vec<u8>,
    batch: u64,
    numbers: BTreeSet<i64>,
    /// By key: rows of the open account, and their digest.
    accounts: BTreeMap<i64, (i64, i64)>,
    parts: BTreeMap<String, Vec<u8>>,
    in_parts: BTreeSet<i64>,
}

impl Reader {
    pub fn start(dir: &Path) -> Reader {
        let progress = Arc::<Progress>::default();
        let (shared, dir) = (progress.clone(), dir.to_owned());
        let thread = thread::spawn(move || {
            let mut seen = Seen::default();
            loop {
                // Looked at before, so that the last look sees all.
                let last = shared.stop.load(Ordering::Acquire);
                let batches = seen.look_at_queue(&dir.join("log.jsonl"))?;
                seen.look_at_parts(&dir.join("out"))?;
                shared.batches.fetch_add(batches, Ordering::Relaxed);
                shared.rows.store(seen.numbers.len().min(seen.in_parts.len()) as u64, Ordering::Relaxed);
                if last {
                    return seen.check_exists(&dir).map(|()| seen);
                }
                thread::sleep(LOOK_EVERY);
            }
        });
        Reader { progress, thread }
    }

    /// Whether it has ended because of an error.
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Stops it; the number of rows must be `rows`.
    pub fn stop(self, rows: i64) -> Result<u64, String> {
        self.progress.stop.store(true, Ordering::Release);
        let seen = self.thread.join().expect("the reader does not panic")?;
        for (what, numbers) in [("queue", &seen.numbers), ("parts", &seen.in_parts)] {
            if !numbers.iter().copied().eq(1..=rows) {
                let lost: Vec<i64> = (1..=rows).filter(|n| !numbers.contains(n)).take(20).collect();
                return Err(format!("{what}: {} rows of {rows} are there; lost: {lost:?}", numbers.len()));
            }
        }
        Ok(rows as u64)
    }
}

impl Seen {
    /// Takes the batches that are new.
    fn look_at_queue(&mut self, path: &Path) -> Result<u64, String> {
        let Ok(mut file) = File::open(path) else { return Ok(0) };
        let mut new = Vec::new();
        file.seek(SeekFrom::Start(self.queue.len() as u64))
            .and_then(|_| file.read_to_end(&mut new))
            .map_err(|error| error.to_string())?;
        new.truncate(new.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
        let text = String::from_utf8(new).map_err(|error| format!("queue: {error}"))?;
        for line in text.lines() {
            let line: Value = serde_json::from_str(line).map_err(|error| format!("queue: {line:?}: {error}"))?;
            let batch = line["batch"].as_u64().unwrap_or_default();
            if batch <= self.batch {
                return Err(format!("queue: batch {batch} comes behind batch {}", self.batch));
            }
            self.batch = batch;
            for row in line["rows"].as_array().into_iter().flatten() {
                self.take(row).map_err(|output| format!("queue, batch {batch}: {output}: {row}"))?;
            }
        }
        self.queue.extend_from_slice(text.as_bytes());
        Ok(text.lines().count() as u64)
    }

    /// Takes a row, which continues the account of its key after the earlier rows of the key.
    fn take(&mut self, row: &Value) -> Result<(), String> {
        let number = |name: &str| row[name].as_i64().unwrap_or(i64::MIN);
        let n = number("n");
        if number("k") != key(n) {
            return Err("it has another key than it came with".into());
        }
        if !self.numbers.insert(n) {
            return Err("a row is there twice".into());
        }
        let (rows, digest) = self.accounts.get(&key(n)).copied().unwrap_or_default();
        let (rows, digest) = (rows + 1, digest.wrapping_mul(1_000_003).wrapping_add(n));
        if (number("place"), number("digest")) != (rows, digest) {
            return Err(format!("its account must have {rows} rows and the digest {digest}"));
        }
        match n % CLOSES {
            0 => self.accounts.remove(&key(n)),
            _ => self.accounts.insert(key(n), (rows, digest)),
        };
        Ok(())
    }

    /// Takes the parts that are new.
    fn look_at_parts(&mut self, dir: &Path) -> Result<(), String> {
        let names = fs::read_dir(dir)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned());
        for name in names.filter(|name| name.starts_with("part-")).collect::<Vec<_>>() {
            if self.parts.contains_key(&name) {
                continue;
            }
            let bytes = fs::read(dir.join(&name)).map_err(|error| format!("{name}: {error}"))?;
            if bytes.last() != Some(&b'\n') {
                return Err(format!("{name} is half a part"));
            }
            for line in String::from_utf8_lossy(&bytes).lines() {
                let row: Value = serde_json::from_str(line).map_err(|error| format!("{name}: {line:?}: {error}"))?;
                if !self.in_parts.insert(row["n"].as_i64().unwrap_or_default()) {
                    return Err(format!("{name} has a row that was seen before: {row}"));
                }
            }
            self.parts.insert(name, bytes);
        }
        Ok(())
    }

    /// Whether all that was there is as it was.
    fn check_exists(&self, dir: &Path) -> Result<(), String> {
        if fs::read(dir.join("log.jsonl")).unwrap_or_default() != self.queue {
            return Err("the queue is not what it was".into());
        }
        let changed =
            self.parts.iter().find(|(name, bytes)| fs::read(dir.join("out").join(name)).ok().as_ref() != Some(*bytes));
        changed.map_or(Ok(()), |(name, _)| Err(format!("{name} is not what it was")))
    }
}
