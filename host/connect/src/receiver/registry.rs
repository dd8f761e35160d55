//! A schema registry like Confluent's: maps the ID at the beginning of each record to the record's schema.
//!
//! IDs are looked up before records go into the inbox, and the schemas travel in the header of the records' chunk. So workers need no network, and a
//! replayed batch sees the same schemas: the schema of an ID never changes. A chunk with an ID that the registry does not have is kept in the plan.

use crate::schema_registry::{RegistryFault, SchemaRegistry};
use bytes::Bytes;
use millstream_base::error::Error;
use millstream_base::units;
use millstream_job::spec::SourceSpec;
use millstream_rows::batch::chunk::Chunk;
use millstream_rows::batch::column::ColumnSpec;
use millstream_rows::batch::envelope;
use millstream_rows::decode::avro::schemas::SchemaTable;
use millstream_rows::decode::avro::{self, doubts};
use millstream_rows::decode::spec::RecordBounds;
use millstream_rows::formats::{Format, RegistrySpec, WriterSchema};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// How long to wait before the registry is queried again; doubled with each attempt.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long an ID that the registry did not have is not queried again.
const UNKNOWN_TTL: Duration = Duration::from_secs(5);
/// Maximum number of cached schemas, and of their bytes.
const CACHED_MAX: usize = 10_000;
const CACHED_BYTES_MAX: usize = 64 << 20;
/// Minimum time that fetching a schema and the schemas it references may take.
const FETCH_TIME_MIN: Duration = Duration::from_secs(30);

/// The cached schemas of one source.
pub struct Schemas {
    source: String,
    columns: Vec<ColumnSpec>,
    spec: RegistrySpec,
    registry: SchemaRegistry,
    /// Returns where a record begins after its prefix: the length of a frame, or metadata.
    value_start: fn(&[u8]) -> usize,
    cached: HashMap<u32, CachedSchema>,
    cached_bytes: usize,
}

enum CachedSchema {
    Schema(Bytes),
    /// The registry did not have the schema at this time.
    Unknown(Instant),
}

impl Schemas {
    /// Creates the cache for a source whose records begin with schema IDs; `None` for other sources.
    pub fn new(source: &SourceSpec, dir: &Path) -> Option<Schemas> {
        let Format::Avro(WriterSchema::Registry(registry)) = &source.format else { return None };
        let value_start = match source.kind.bounds() {
            RecordBounds::Prefix => |_: &[u8]| millstream_rows::batch::chunk::FRAME_PREFIX_BYTES,
            RecordBounds::Envelope => envelope::value_start,
            _ => |_: &[u8]| 0,
        };
        Some(Schemas {
            source: source.name.clone(),
            // Columns that come from metadata are in no schema.
            columns: source.value_columns().cloned().collect(),
            registry: SchemaRegistry::new(registry, dir),
            spec: (**registry).clone(),
            value_start,
            cached: HashMap::new(),
            cached_bytes: 0,
        })
    }

    /// Adds the schemas of its records to a chunk. Waits up to `wait` while the registry is unreachable, then fails.
    pub async fn attach(&mut self, chunk: &mut Chunk) -> Result<(), Error> {
        let rejected: BTreeSet<u32> = chunk.rejected.iter().map(|rejection| rejection.row).collect();
        let records = (0..chunk.rows()).filter(|row| !rejected.contains(&(*row as u32)));
        // The decoder rejects a record without an ID.
        let id = |row| {
            let record = chunk.record(row);
            avro::wire(record.get((self.value_start)(record)..).unwrap_or_default()).ok().map(|(id, _)| id)
        };
        let ids: BTreeSet<u32> = records.filter_map(id).collect();
        // A registry that has a schema for every ID must not fill the memory.
        if self.cached.len() >= CACHED_MAX || self.cached_bytes > CACHED_BYTES_MAX {
            self.cached.clear();
            self.cached_bytes = 0;
        }
        let mut bytes = 0;
        for id in &ids {
            self.fetch(*id).await?;
            bytes += match self.cached.get(id) {
                Some(CachedSchema::Schema(schema)) => schema.len(),
                _ => 0,
            };
            if bytes > CACHED_BYTES_MAX {
                let (source, url, most) = (&self.source, &self.spec.url, CACHED_BYTES_MAX >> 20);
                return Err(Error::environment(format!(
                    "source `{source}`: {url} returned more than {most} MiB of schemas for one group of records; \
                     check its responses"
                )));
            }
        }
        let schema = |id: &u32| match self.cached.get(id) {
            Some(CachedSchema::Schema(schema)) => (*id, Some(schema)),
            _ => (*id, None),
        };
        chunk.header = SchemaTable::write(ids.iter().map(schema));
        Ok(())
    }

    /// Fetches a schema unless it is cached.
    async fn fetch(&mut self, id: u32) -> Result<(), Error> {
        match self.cached.get(&id) {
            Some(CachedSchema::Schema(_)) => return Ok(()),
            Some(CachedSchema::Unknown(since)) if since.elapsed() < UNKNOWN_TTL => return Ok(()),
            _ => {}
        }
        let found = self.retry_transient(id).await?;
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
                self.cached_bytes += schema.len();
                self.cached.insert(id, CachedSchema::Schema(schema));
            }
            None => {
                if !self.cached.contains_key(&id) {
                    warn!("source `{source}`: {url} has no schema {id}; records that begin with it are rejected");
                }
                self.cached.insert(id, CachedSchema::Unknown(Instant::now()));
            }
        }
        Ok(())
    }

    /// Queries the registry until it responds. An error is logged whenever it differs from the previous one.
    async fn retry_transient(&self, id: u32) -> Result<Option<Bytes>, Error> {
        let (source, url) = (&self.source, &self.spec.url);
        let (since, mut pause, mut last_error) = (Instant::now(), PAUSE_MIN, None);
        loop {
            let left = self.spec.wait.saturating_sub(since.elapsed()).max(FETCH_TIME_MIN);
            let fetched = tokio::time::timeout(left, self.registry.schema(id)).await;
            let late =
                || RegistryFault::Transient(format!("it did not arrive completely within {}", units::show_time(left)));
            let reason = match fetched.unwrap_or_else(|_| Err(late())) {
                Ok(found) => {
                    if last_error.is_some() {
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
            if last_error.as_ref() != Some(&reason) {
                let wait = units::show_time(wait);
                warn!(
                    "source `{source}`: cannot get schema {id} from {url}: {reason}; it waits for up to {wait} (`registry.wait`)"
                );
                last_error = Some(reason);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}
