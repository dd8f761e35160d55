//! The `kinesis` source. Each shard is a partition, identified by its id. It is read in order, and to its end before the shards that it was
//! split or merged into. A position is the sequence number of the last record that was read, and how many of the records aggregated in it.

mod receive;
mod aggregated;
mod position;
mod shards;
mod buffer;

use super::settings::KinesisReads;
use crate::kinesis::{KinesisClient, KinesisFault, Stream};
use millstream_base::error::Error;
use millstream_base::shown;
use millstream_connect::receiver::polled::position_field;
use millstream_connect::receiver::restart_hint;
use millstream_job::spec::{SourceSpec, StreamStart};
use millstream_rows::batch::reading::{Message, ReadContent, ReadError, ReadPartition, ReadRows};
use position::{KinesisPosition, LastRead};
use shards::{Shards, StreamRetention};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::runtime::{Builder, Runtime};

/// Assumed bytes of a record until some were seen.
const RECORD_BYTES: u64 = 1 << 10;
/// The minimum interval between reads of a shard, and below the maximum for one without records. All readers of a shard together may read
/// it 5 times per second.
const READ_INTERVAL_MIN: Duration = Duration::from_millis(250);
const READ_INTERVAL_MAX: Duration = Duration::from_secs(1);

/// The shared state of a source's readers.
pub struct Shared {
    source: String,
    stream: Arc<Stream>,
    start: StreamStart,
    /// Its own runtime, as readers may still wait when that of the job shuts down.
    runtime: Runtime,
    known: Mutex<KnownStream>,
}

/// The known state of the stream.
#[derive(Default)]
struct KnownStream {
    /// `None`: not queried yet.
    facts: Option<StreamRetention>,
    /// The time from which on it is read; `None` within: from the oldest records on.
    from_ms: Option<Option<i64>>,
    shards: Shards,
    /// The positions of earlier runs, until it is checked that they can be resumed.
    before: Vec<(String, Vec<u8>)>,
}

impl Shared {
    /// Creates the state of a source.
    pub fn new(source: &SourceSpec, reads: &KinesisReads, stream: Stream) -> Result<Shared, Error> {
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("kinesis").enable_all().build();
        let runtime = runtime.map_err(|cause| Error::environment(format!("cannot start a runtime: {cause}")))?;
        Ok(Shared {
            source: source.name.clone(),
            stream: Arc::new(stream),
            start: reads.start,
            runtime,
            known: Mutex::default(),
        })
    }

    fn lock_stream(&self) -> MutexGuard<'_, KnownStream> {
        // No code under the lock can leave the state inconsistent.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn permanent(&self, what: &str) -> ReadError {
        ReadError::Permanent(Error::job(format!("source `{}`: {what}", self.source)))
    }

    fn read_error(&self, fault: KinesisFault) -> ReadError {
        match fault {
            KinesisFault::Transient(why) | KinesisFault::Throttled(why) => ReadError::Transient(why),
            KinesisFault::Expired => ReadError::Transient("the iterator is too old".into()),
            KinesisFault::Invalid(why) | KinesisFault::Permanent(why) => self.permanent(&why),
        }
    }

    fn lost_error(&self, shard: &str, until_ms: i64) -> ReadError {
        let until =
            millstream_connect::sink::shown_time(millstream_base::ids::BatchTime(until_ms.saturating_mul(1000)));
        let (display_name, shard) = (self.stream.display_name(), shown::harmless(shard, 200));
        self.permanent(&format!(
            "{display_name}: shard `{shard}` was read up to {until}, and the stream has deleted records since then that the job may not have \
             read; raise the stream's retention, and {} to continue with the existing records",
            restart_hint(&self.source)
        ))
    }

    fn other_stream(&self) -> ReadError {
        self.permanent(&format!(
            "{} is not the stream that the job has read; {} to read it from its beginning",
            self.stream.display_name(),
            restart_hint(&self.source)
        ))
    }
}

/// Reads one shard, or lists all.
pub struct Kinesis {
    shared: Arc<Shared>,
    client: KinesisClient,
    open: Option<OpenShard>,
}

/// A shard that is being read.
struct OpenShard {
    shard: String,
    position: KinesisPosition,
    hash_keys: Option<(u128, u128)>,
    iterator: Option<String>,
    /// Whether the end of the shard was received.
    at_end: bool,
    /// Received records that were not handed over yet.
    waiting: VecDeque<PendingRecord>,
    /// The time up to which everything is read once `waiting` is handed over.
    until_ms: i64,
    /// The time up to which the position was recorded.
    recorded_ms: Option<i64>,
    /// Whether the job has not read it before.
    is_new: bool,
    opened: Instant,
    next: Instant,
    every: Duration,
    /// Approximate bytes of a record.
    record_bytes: u64,
}

/// A record, or one of several aggregated in it, and the position once it is handed over.
struct PendingRecord {
    read: LastRead,
    what: RecordContent,
}

enum RecordContent {
    Message(Message),
    Invalid(Vec<u8>, String),
    /// It belongs to another shard, from which it is read as well.
    Nothing,
}

impl Kinesis {
    /// Creates another reader.
    pub fn new(shared: &Arc<Shared>) -> Kinesis {
        Kinesis { shared: shared.clone(), client: KinesisClient::new(&shared.stream), open: None }
    }

    /// Checks once whether the job can resume at its position.
    fn check(&self, known: &mut KnownStream) -> Result<(), ReadError> {
        let created_s = known.facts.as_ref().map(|facts| facts.created_s);
        for (shard, position) in std::mem::take(&mut known.before) {
            let parsed = KinesisPosition::parse(&position)
                .ok_or_else(|| self.shared.permanent("one of its positions is not a Kinesis position"))?;
            if Some(parsed.created_s) != created_s {
                return Err(self.shared.other_stream());
            }
            if parsed.read != LastRead::All && !known.shards.existing.contains_key(&shard) {
                return Err(self.shared.lost_error(&shard, parsed.until_ms));
            }
            known.from_ms = Some(parsed.from_ms);
            // Its successors may be read immediately, and still exist.
            if parsed.read == LastRead::All {
                known.shards.ended.insert(shard);
            }
        }
        known.from_ms.get_or_insert(match self.shared.start {
            StreamStart::Earliest => None,
            StreamStart::Latest => Some(now_ms()),
            StreamStart::At(ms) => Some(ms),
        });
        Ok(())
    }
}

impl ReadPartition for Kinesis {
    fn set_positions(&mut self, partitions: &[(String, Vec<u8>)]) {
        self.shared.lock_stream().before = partitions.to_vec();
    }

    fn ended(&mut self, shards: &[String]) {
        self.shared.lock_stream().shards.ended.extend(shards.iter().cloned());
    }

    fn partitions(&mut self) -> Result<Vec<String>, ReadError> {
        let (shared, client) = (self.shared.clone(), &mut self.client);
        let result = shared.runtime.block_on(async {
            let facts = shards::facts(client).await?;
            Ok::<_, KinesisFault>((facts, shards::list(client).await?))
        });
        let (facts, existing) = result.map_err(|fault| shared.read_error(fault))?;
        let mut known = shared.lock_stream();
        if known.facts.as_ref().is_some_and(|before| before.created_s != facts.created_s) {
            return Err(shared.other_stream());
        }
        known.facts = Some(facts);
        known.shards.existing = existing;
        self.check(&mut known)?;
        Ok(known.shards.readable())
    }

    fn open(&mut self, shard: &str, position: Option<&[u8]>) -> Result<(), ReadError> {
        let known = self.shared.lock_stream();
        let (Some(facts), Some(from_ms)) = (&known.facts, known.from_ms) else {
            return Err(ReadError::Transient("its shards are not known yet".into()));
        };
        let start = match position {
            Some(position) => KinesisPosition::parse(position)
                .ok_or_else(|| self.shared.permanent("one of its positions is not a Kinesis position"))?,
            None => {
                KinesisPosition { created_s: facts.created_s, from_ms, until_ms: now_ms(), read: LastRead::Nothing }
            }
        };
        let now = Instant::now();
        self.open = Some(OpenShard {
            shard: shard.to_owned(),
            hash_keys: known.shards.existing.get(shard).and_then(|shard| shard.hash_keys),
            iterator: None,
            at_end: start.read == LastRead::All,
            waiting: VecDeque::new(),
            until_ms: start.until_ms,
            recorded_ms: position.map(|_| start.until_ms),
            position: start,
            is_new: position.is_none(),
            opened: now,
            next: now,
            every: READ_INTERVAL_MIN,
            record_bytes: RECORD_BYTES,
        });
        Ok(())
    }

    fn shown<'a>(&self, position: &'a str) -> &'a str {
        position_field(position, 3)
    }

    fn is_open(&self) -> bool {
        self.open.is_some()
    }

    fn poll(&mut self, rows_max: u32, _: Duration) -> Result<ReadRows, ReadError> {
        let Some(open) = &mut self.open else { return Err(ReadError::Transient("it is not open".into())) };
        if open.waiting.is_empty() && open.at_end {
            open.position.read = LastRead::All;
            let position = Some(open.position.encode());
            return Ok(ReadRows {
                content: ReadContent::Messages(Vec::new()),
                rejected: Vec::new(),
                position,
                pause: None,
            });
        }
        if open.waiting.is_empty() {
            let receiving = Kinesis::receive(&mut self.client, &self.shared, open, rows_max);
            let came = self.shared.runtime.block_on(receiving)?;
            open.every = if came { READ_INTERVAL_MIN } else { (open.every * 2).min(READ_INTERVAL_MAX) };
            open.next = (open.next - READ_INTERVAL_MIN) + open.every;
            if !came {
                return Ok(open.on_empty_response());
            }
        }
        Ok(open.hand_over(rows_max))
    }
}

/// Returns the milliseconds since 1970.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
