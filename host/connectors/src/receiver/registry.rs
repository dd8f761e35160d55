//! A registry of schemas, as Confluent's is: the schema of each record by the id that it begins with.
//!
//! Ids are looked up before records go into the inbox, and what was found travels with them in the header of their chunk. So
//! workers need no network, and a batch that runs again sees what it saw: the schema of an id never changes, and a chunk with an
//! id that the registry does not know is kept in the plan.

use crate::schema_registry::{RegistryFault, SchemaRegistry};
use bytes::Bytes;
use millstream_base::batch::chunk::Chunk;
use millstream_base::batch::envelope;
use millstream_base::decode::avro::schemas::SchemaTable;
use millstream_base::decode::avro::{self, doubts};
use millstream_base::error::Error;
use millstream_base::job::spec::{ColumnSpec, Format, RecordBounds, RegistrySpec, SourceSpec, WriterSchema};
use millstream_base::units;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// How long to wait before the registry is asked again; doubled from attempt to attempt.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long the registry is not asked again for an id that it did not know.
const UNKNOWN_FOR: Duration = Duration::from_secs(5);
/// Schemas that are remembered, and their bytes.
const KNOWN_MAX: usize = 10_000;
const KNOWN_BYTES_MAX: usize = 64 << 20;
/// How long a schema and those that it refers to may take in any case.
const ASK_TIME_MIN: Duration = Duration::from_secs(30);

/// The schemas of one source.
pub struct Schemas {
    source: String,
    columns: Vec<ColumnSpec>,
    spec: RegistrySpec,
    registry: SchemaRegistry,
    /// Where a record begins behind what stands before it: the length of a frame, or what comes with a value.
    begin: fn(&[u8]) -> usize,
    known: HashMap<u32, CachedSchema>,
    known_bytes: usize,
}

enum CachedSchema {
    Schema(Bytes),
    /// The registry did not know it then.
    Unknown(Instant),
}

impl Schemas {
    /// Those of a source whose records begin with ids; `None`: they do not.
    pub fn of(source: &SourceSpec, folder: &Path) -> Option<Schemas> {
        let Format::Avro(WriterSchema::Registry(registry)) = &source.format else { return None };
        let begin = match source.kind.bounds() {
            RecordBounds::Prefix => |_: &[u8]| millstream_base::batch::chunk::FRAME_PREFIX_BYTES,
            RecordBounds::Envelope => envelope::value_start,
            _ => |_: &[u8]| 0,
        };
        Some(Schemas {
            source: source.name.clone(),
            // What comes beside a value is in no schema.
            columns: source.value_columns().cloned().collect(),
            registry: SchemaRegistry::new(registry, folder),
            spec: (**registry).clone(),
            begin,
            known: HashMap::new(),
            known_bytes: 0,
        })
    }

    /// Gives a chunk the schemas of its records. Waits while the registry is away, up to `wait`; then it is an error.
    pub async fn give(&mut self, chunk: &mut Chunk) -> Result<(), Error> {
        let refused: BTreeSet<u32> = chunk.refused.iter().map(|refusal| refusal.row).collect();
        let records = (0..chunk.rows()).filter(|row| !refused.contains(&(*row as u32)));
        // A record without an id is refused by whoever decodes it.
        let id = |row| {
            let record = chunk.record(row);
            avro::wire(record.get((self.begin)(record)..).unwrap_or_default()).ok().map(|(id, _)| id)
        };
        let ids: BTreeSet<u32> = records.filter_map(id).collect();
        // A registry that has something to say of every id must not fill the memory.
        if self.known.len() >= KNOWN_MAX || self.known_bytes > KNOWN_BYTES_MAX {
            self.known.clear();
            self.known_bytes = 0;
        }
        let mut bytes = 0;
        for id in &ids {
            self.know(*id).await?;
            bytes += match self.known.get(id) {
                Some(CachedSchema::Schema(schema)) => schema.len(),
                _ => 0,
            };
            if bytes > KNOWN_BYTES_MAX {
                let (source, url, most) = (&self.source, &self.spec.url, KNOWN_BYTES_MAX >> 20);
                return Err(Error::environment(format!(
                    "source `{source}`: {url} has schemas of more than {most} MiB for records that came together; check what it \
                     answers"
                )));
            }
        }
        let schema = |id: &u32| match self.known.get(id) {
            Some(CachedSchema::Schema(schema)) => (*id, Some(schema)),
            _ => (*id, None),
        };
        chunk.header = SchemaTable::write(ids.iter().map(schema));
        Ok(())
    }

    /// Asks for a schema, unless it is known.
    async fn know(&mut self, id: u32) -> Result<(), Error> {
        match self.known.get(&id) {
            Some(CachedSchema::Schema(_)) => return Ok(()),
            Some(CachedSchema::Unknown(since)) if since.elapsed() < UNKNOWN_FOR => return Ok(()),
            _ => {}
        }
        let found = self.patiently(id).await?;
        let (source, url) = (&self.source, &self.spec.url);
        match found {
            Some(schema) => {
                match doubts(&schema, &self.columns) {
                    Ok(doubts) => {
                        for doubt in doubts {
                            warn!("source `{source}`: schema {id} of {url}: {doubt}");
                        }
                    }
                    Err(why) => {
                        warn!("source `{source}`: schema {id} of {url} cannot be used: {why}; its records are rejected")
                    }
                }
                self.known_bytes += schema.len();
                self.known.insert(id, CachedSchema::Schema(schema));
            }
            None => {
                if !self.known.contains_key(&id) {
                    warn!("source `{source}`: {url} has no schema {id}; records that begin with it are rejected");
                }
                self.known.insert(id, CachedSchema::Unknown(Instant::now()));
            }
        }
        Ok(())
    }

    /// Asks until there is an answer. What is wrong is told once, as often as it is something else.
    async fn patiently(&self, id: u32) -> Result<Option<Bytes>, Error> {
        let (source, url) = (&self.source, &self.spec.url);
        let (since, mut pause, mut trouble) = (Instant::now(), PAUSE_MIN, None);
        loop {
            let left = self.spec.wait.saturating_sub(since.elapsed()).max(ASK_TIME_MIN);
            let asked = tokio::time::timeout(left, self.registry.schema(id)).await;
            let late = || RegistryFault::Passing(format!("not all of it came within {}", units::show_time(left)));
            let reason = match asked.unwrap_or_else(|_| Err(late())) {
                Ok(found) => {
                    if trouble.is_some() {
                        info!("source `{source}`: the schema registry {url} is reachable again");
                    }
                    return Ok(found);
                }
                Err(fault) => fault.to_string(),
            };
            let wait = self.spec.wait;
            if since.elapsed() >= wait {
                let wait = units::show_time(wait);
                return Err(Error::environment(format!(
                    "source `{source}`: the schema registry {url} did not respond for {wait} (`registry.wait`): {reason}"
                )));
            }
            if trouble.as_ref() != Some(&reason) {
                let wait = units::show_time(wait);
                warn!(
                    "source `{source}`: cannot get schema {id} from {url}: {reason}; it waits for up to {wait} (`registry.wait`)"
                );
                trouble = Some(reason);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}
