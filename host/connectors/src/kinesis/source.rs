//! A stream of Kinesis. Each shard is a partition, known by its id, and read by itself: in order, and to its end before those that it was
//! split or merged into. A position is the sequence number of the last record that was read, and how many of those that were packed in it.

mod ask;
mod packed;
mod position;
mod shards;
mod waiting;

use super::settings::KinesisReads;
use crate::kinesis::{KinesisClient, KinesisFault, Stream};
use crate::receiver::polled::word;
use millstream_base::batch::reading::{Message, ReadContent, ReadPartition, ReadRows, ReadTrouble};
use millstream_base::error::Error;
use millstream_base::job::spec::{SourceSpec, StreamStart};
use millstream_base::shown;
use position::{KinesisPosition, LastRead};
use shards::{Shards, StreamRetention};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::runtime::{Builder, Runtime};

/// Bytes of a record until some were seen.
const RECORD_BYTES: u64 = 1 << 10;
/// How often a shard is read, at most and, where nothing comes, at least. All readers of a shard together may read it 5 times a second.
const EVERY_MIN: Duration = Duration::from_millis(250);
const EVERY_MAX: Duration = Duration::from_secs(1);

/// What all readers of a source share.
pub struct Shared {
    source: String,
    stream: Arc<Stream>,
    start: StreamStart,
    /// Its own, since readers may still wait when that of the job shuts down.
    runtime: Runtime,
    known: Mutex<KnownStream>,
}

/// What is known of the stream.
#[derive(Default)]
struct KnownStream {
    /// `None`: nobody has asked yet.
    facts: Option<StreamRetention>,
    /// From which time on it is read; `None` within: from the oldest records on.
    from_ms: Option<Option<i64>>,
    shards: Shards,
    /// Where earlier starts have come to, until it is known that they can go on there.
    before: Vec<(String, Vec<u8>)>,
}

impl Shared {
    /// Of a source.
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

    fn known(&self) -> MutexGuard<'_, KnownStream> {
        // Nothing that is done under the lock can leave it half done.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lasting(&self, what: &str) -> ReadTrouble {
        ReadTrouble::Lasting(Error::job(format!("source `{}`: {what}", self.source)))
    }

    fn told(&self, trouble: KinesisFault) -> ReadTrouble {
        match trouble {
            KinesisFault::Passing(why) | KinesisFault::Throttled(why) => ReadTrouble::Passing(why),
            KinesisFault::Expired => ReadTrouble::Passing("the iterator is too old".into()),
            KinesisFault::Invalid(why) | KinesisFault::Lasting(why) => self.lasting(&why),
        }
    }

    fn lost(&self, shard: &str, until_ms: i64) -> ReadTrouble {
        let until = crate::sink::shown_time(millstream_base::ids::BatchTime(until_ms.saturating_mul(1000)));
        let (place, shard) = (self.stream.place(), shown::harmless(shard, 200));
        self.lasting(&format!(
            "{place}: shard `{shard}` was read up to {until}, and the stream has deleted records since then that the job may not have \
             read; raise the stream's retention, and give the source another name to continue with the existing records"
        ))
    }

    fn other_stream(&self) -> ReadTrouble {
        self.lasting(&format!(
            "{} is another stream than the one that the job has read; give the source another name to read it from its beginning",
            self.stream.place()
        ))
    }
}

/// Reads one shard, or asks for all.
pub struct Kinesis {
    shared: Arc<Shared>,
    asker: KinesisClient,
    open: Option<OpenShard>,
}

/// A shard that is read.
struct OpenShard {
    shard: String,
    place: KinesisPosition,
    hash_keys: Option<(u128, u128)>,
    iterator: Option<String>,
    /// Whether no more will come.
    at_end: bool,
    /// What was received and not handed over.
    waiting: VecDeque<PendingRecord>,
    /// Up to which time all is read once that is handed over.
    until_ms: i64,
    /// Up to which time the place was put down.
    noted_ms: Option<i64>,
    /// Whether the job has not read it before.
    is_new: bool,
    begun: Instant,
    next: Instant,
    every: Duration,
    /// Bytes that a record has, about.
    record_bytes: u64,
}

/// A record, or one of several that were packed in it, and what is read once it is handed over.
struct PendingRecord {
    read: LastRead,
    what: RecordContent,
}

enum RecordContent {
    Message(Message),
    Refused(Vec<u8>, String),
    /// It belongs to another shard, where it comes as well.
    Nothing,
}

impl Kinesis {
    /// One more that reads.
    pub fn new(shared: &Arc<Shared>) -> Kinesis {
        Kinesis { shared: shared.clone(), asker: KinesisClient::new(&shared.stream), open: None }
    }

    /// Looks whether the job can go on where it was, which is asked once.
    fn check(&self, known: &mut KnownStream) -> Result<(), ReadTrouble> {
        let made_s = known.facts.as_ref().map(|facts| facts.made_s);
        for (shard, position) in std::mem::take(&mut known.before) {
            let place = KinesisPosition::parse(&position)
                .ok_or_else(|| self.shared.lasting("one of its positions is not a Kinesis position"))?;
            if Some(place.made_s) != made_s {
                return Err(self.shared.other_stream());
            }
            if place.read != LastRead::All && !known.shards.there.contains_key(&shard) {
                return Err(self.shared.lost(&shard, place.until_ms));
            }
            known.from_ms = Some(place.from_ms);
            // What it became may be read at once, and has not gone.
            if place.read == LastRead::All {
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
    fn known(&mut self, partitions: &[(String, Vec<u8>)]) {
        self.shared.known().before = partitions.to_vec();
    }

    fn ended(&mut self, shards: &[String]) {
        self.shared.known().shards.ended.extend(shards.iter().cloned());
    }

    fn partitions(&mut self) -> Result<Vec<String>, ReadTrouble> {
        let (shared, asker) = (self.shared.clone(), &mut self.asker);
        let asked = shared.runtime.block_on(async {
            let facts = shards::facts(asker).await?;
            Ok::<_, KinesisFault>((facts, shards::list(asker).await?))
        });
        let (facts, there) = asked.map_err(|trouble| shared.told(trouble))?;
        let mut known = shared.known();
        if known.facts.as_ref().is_some_and(|before| before.made_s != facts.made_s) {
            return Err(shared.other_stream());
        }
        known.facts = Some(facts);
        known.shards.there = there;
        self.check(&mut known)?;
        Ok(known.shards.readable())
    }

    fn open(&mut self, shard: &str, position: Option<&[u8]>) -> Result<(), ReadTrouble> {
        let known = self.shared.known();
        let (Some(facts), Some(from_ms)) = (&known.facts, known.from_ms) else {
            return Err(ReadTrouble::Passing("its shards are not known yet".into()));
        };
        let place = match position {
            Some(position) => KinesisPosition::parse(position)
                .ok_or_else(|| self.shared.lasting("one of its positions is not a Kinesis position"))?,
            None => KinesisPosition { made_s: facts.made_s, from_ms, until_ms: now_ms(), read: LastRead::Nothing },
        };
        let now = Instant::now();
        self.open = Some(OpenShard {
            shard: shard.to_owned(),
            hash_keys: known.shards.there.get(shard).and_then(|shard| shard.hash_keys),
            iterator: None,
            at_end: place.read == LastRead::All,
            waiting: VecDeque::new(),
            until_ms: place.until_ms,
            noted_ms: position.map(|_| place.until_ms),
            place,
            is_new: position.is_none(),
            begun: now,
            next: now,
            every: EVERY_MIN,
            record_bytes: RECORD_BYTES,
        });
        Ok(())
    }

    fn shown<'a>(&self, position: &'a str) -> &'a str {
        word(position, 3)
    }

    fn is_open(&self) -> bool {
        self.open.is_some()
    }

    fn poll(&mut self, rows_max: u32, _: Duration) -> Result<ReadRows, ReadTrouble> {
        let Some(open) = &mut self.open else { return Err(ReadTrouble::Passing("it is not open".into())) };
        if open.waiting.is_empty() && open.at_end {
            open.place.read = LastRead::All;
            let position = Some(open.place.written());
            return Ok(ReadRows {
                content: ReadContent::Messages(Vec::new()),
                refused: Vec::new(),
                position,
                pause: None,
            });
        }
        if open.waiting.is_empty() {
            let asking = Kinesis::receive(&mut self.asker, &self.shared, open, rows_max);
            let came = self.shared.runtime.block_on(asking)?;
            open.every = if came { EVERY_MIN } else { (open.every * 2).min(EVERY_MAX) };
            open.next = (open.next - EVERY_MIN) + open.every;
            if !came {
                return Ok(open.nothing());
            }
        }
        Ok(open.hand_over(rows_max))
    }
}

/// Milliseconds since 1970.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
