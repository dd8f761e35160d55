//! Jobs built by a program: the parts of a [`JobSpec`] with their defaults. [`check`](super::check) reports the same errors as
//! for a job file.
//! The documentation of the crate `millstream` has an example.

use super::spec::*;
use arrow::datatypes::{Field, SchemaRef};
use millstream_base::limits;
use millstream_rows::batch::column::{ColumnSource, ColumnSpec};
use millstream_rows::batch::types::ColumnType;
use millstream_rows::decode;
use millstream_rows::decode::spec::DecoderSpec;
use millstream_rows::formats::Format;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

impl Default for JobSpec {
    fn default() -> JobSpec {
        JobSpec::new("job")
    }
}

impl JobSpec {
    /// Returns whether the job only shows the first rows of its streams.
    pub fn is_sample(&self) -> bool {
        self.sinks.iter().any(|sink| sink.kind.is_sample())
    }

    /// Returns the name of a sink in metrics: its own, unless a source or stage has the same.
    pub fn counts_of_sink(&self, sink: &str) -> String {
        let mut others = self.sources.iter().map(|part| &part.name).chain(self.stages.iter().map(|part| &part.name));
        if others.any(|other| other == sink) { format!("{sink} (sink)") } else { sink.into() }
    }

    /// Creates a job without parts: one batch per second, all cores, paths relative to the working directory.
    pub fn new(name: impl Into<String>) -> JobSpec {
        JobSpec {
            name: name.into(),
            batch: Duration::from_secs(1),
            workers: None,
            clock: ClockSpec::Wall,
            in_flight_max: limits::IN_FLIGHT_MAX,
            ui: true,
            memory_bytes_max: None,
            state: None,
            at_end: AtEnd::default(),
            checkpoint: None,
            origin: Origin::default(),
            sources: Vec::new(),
            stages: Vec::new(),
            sinks: Vec::new(),
        }
    }

    /// Returns the plugins of all sources, stages and sinks, each with the name of the part that uses it.
    pub fn plugins(&self) -> impl Iterator<Item = (&str, &PluginSpec)> {
        let sources = self.sources.iter().filter_map(|source| Some((source.name.as_str(), source.plugin()?)));
        let stages = self.stages.iter();
        let of_stages =
            stages.flat_map(|stage| stage.plugins().into_iter().map(|plugin| (stage.name.as_str(), plugin)));
        let sinks = self.sinks.iter().filter_map(|sink| Some((sink.name.as_str(), sink.plugin()?)));
        sources.chain(of_stages).chain(sinks)
    }

    /// Sets the batch interval; zero: a batch as soon as data waits.
    #[must_use]
    pub fn batch(mut self, interval: Duration) -> JobSpec {
        self.batch = interval;
        self
    }

    /// Sets the number of worker threads of each process.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> JobSpec {
        self.workers = Some(workers);
        self
    }

    /// Sets what happens to event time when all sources have ended.
    #[must_use]
    pub fn at_end(mut self, at_end: AtEnd) -> JobSpec {
        self.at_end = at_end;
        self
    }

    /// Sets the memory limit for the state of stages in each process. State above it is spilled to files in `dir`, by default the
    /// directory for temporary files.
    #[must_use]
    pub fn state(mut self, memory_bytes_max: u64, dir: Option<PathBuf>) -> JobSpec {
        self.state = Some(StateSpec { memory_bytes_max, dir });
        self
    }

    /// Sets the clock of the batch times.
    #[must_use]
    pub fn clock(mut self, clock: ClockSpec) -> JobSpec {
        self.clock = clock;
        self
    }

    /// Sets location (a directory, or `s3://bucket/prefix`) and interval of checkpoints.
    #[must_use]
    pub fn checkpoint(mut self, dir: impl Into<String>, every: CheckpointEvery) -> JobSpec {
        self.checkpoint = Some(CheckpointSpec { dir: dir.into(), every });
        self
    }

    /// Sets the directory of the job's relative paths.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> JobSpec {
        self.origin.dir = dir.into();
        self
    }

    /// Adds a source.
    #[must_use]
    pub fn source(mut self, source: SourceSpec) -> JobSpec {
        self.sources.push(source);
        self
    }

    /// Adds a stage.
    #[must_use]
    pub fn stage(mut self, stage: StageSpec) -> JobSpec {
        self.stages.push(stage);
        self
    }

    /// Adds a sink.
    #[must_use]
    pub fn sink(mut self, sink: SinkSpec) -> JobSpec {
        self.sinks.push(sink);
        self
    }
}

impl SourceSpec {
    /// Creates a source of this kind and format with default limits and the format's default columns.
    pub fn new(name: impl Into<String>, kind: SourceKind, format: Format) -> SourceSpec {
        let schema = SourceSpec::default_schema(&kind, &format);
        SourceSpec {
            name: name.into(),
            kind,
            format,
            schema,
            rows_per_batch_max: limits::ROWS_PER_BATCH_MAX,
            bytes_per_batch_max: limits::BYTES_PER_BATCH_MAX,
            record_bytes_max: limits::RECORD_BYTES_MAX,
            rejected_bytes_max: limits::REJECTED_BYTES_MAX,
            rejected_max: None,
            away_max: Duration::from_millis(limits::AWAY_MS_MAX),
            tls: None,
        }
    }

    /// Creates a source with these settings, in the connector's default format.
    pub fn from_config(name: impl Into<String>, config: impl SourceConfig) -> SourceSpec {
        let (format, record_bytes_max) = (config.format(), config.record_bytes_max());
        SourceSpec { record_bytes_max, ..SourceSpec::new(name, SourceKind::Declared(Arc::new(config)), format) }
    }

    /// Returns the plugin of a source of kind `plugin`.
    pub fn plugin(&self) -> Option<&PluginSpec> {
        match &self.kind {
            SourceKind::Plugin(source) => Some(&source.plugin),
            _ => None,
        }
    }

    /// See [`SourceSpec::plugin`].
    pub fn plugin_mut(&mut self) -> Option<&mut PluginSpec> {
        match &mut self.kind {
            SourceKind::Plugin(source) => Some(&mut source.plugin),
            _ => None,
        }
    }

    /// Sets the columns of the source's rows, for kinds whose columns are not in the job file.
    pub fn set_columns(&mut self, given: &SchemaRef) {
        match &mut self.kind {
            SourceKind::Plugin(source) => source.columns.clone_from(given),
            SourceKind::Declared(config) => match config.with_row_schema(given) {
                Some(with_columns) => *config = with_columns,
                None => return,
            },
            SourceKind::Table(_) => return,
        }
        let column =
            |field: &Arc<Field>| ColumnSpec::new(field.name().clone(), ColumnType::from_arrow(field.data_type()));
        self.schema = given.fields().iter().map(column).collect();
    }

    /// Creates a source of rows of a plugin of world `source`.
    pub fn of_plugin(name: impl Into<String>, plugin: impl Into<PluginSpec>) -> SourceSpec {
        let kind = SourceKind::Plugin(Box::new(PluginSourceSpec::new(plugin.into())));
        SourceSpec { record_bytes_max: limits::RECORD_BYTES_MAX_MAX, ..SourceSpec::new(name, kind, Format::Json) }
    }

    /// Sets TLS for the connection to the server of a socket.
    #[must_use]
    pub fn tls(mut self, tls: TlsSpec) -> SourceSpec {
        self.tls = Some(tls);
        self
    }

    /// Sets the format, and the format's default columns.
    #[must_use]
    pub fn format(mut self, format: Format) -> SourceSpec {
        self.schema = SourceSpec::default_schema(&self.kind, &format);
        self.format = format;
        self
    }

    /// Sets the columns.
    #[must_use]
    pub fn schema(mut self, schema: Vec<ColumnSpec>) -> SourceSpec {
        self.schema = schema;
        self
    }

    /// Returns the default columns of a source: `value` for text and binary, none for formats that require a schema, for
    /// example json and csv.
    pub fn default_schema(kind: &SourceKind, format: &Format) -> Vec<ColumnSpec> {
        if let Some(columns) = kind.declared().and_then(SourceConfig::columns) {
            return columns;
        }
        match (kind, format) {
            (_, Format::Text) => vec![ColumnSpec::new("value", ColumnType::Text)],
            (_, Format::Binary { .. }) => vec![ColumnSpec::new("value", ColumnType::Binary)],
            (_, Format::Json | Format::Csv { .. } | Format::Parquet | Format::Avro(_) | Format::Protobuf(_)) => {
                Vec::new()
            }
        }
    }

    /// Returns the columns of a record's value: all but those with a `from`.
    pub fn value_columns(&self) -> impl Iterator<Item = &ColumnSpec> {
        self.schema.iter().filter(|column| column.from == ColumnSource::Value)
    }

    /// Returns the minimum size of a decoded row of these columns, however small it was before: its values and
    /// their null markers.
    pub fn decoded_row_bytes(schema: &[ColumnSpec]) -> u64 {
        const NOTE_BYTES: u64 = 4;
        const END_BYTES: u64 = 4;
        let column = |column: &ColumnSpec| column.kind.fixed_bytes().map_or(END_BYTES, u64::from) + NOTE_BYTES;
        schema.iter().map(column).sum::<u64>().max(1)
    }

    /// Returns the maximum number of rows that one batch takes of this source: no more than may be decoded at a time.
    pub fn rows_per_take_max(&self) -> u64 {
        let decoded = self.bytes_per_batch_max.saturating_mul(limits::DECODED_TIMES_MAX);
        self.rows_per_batch_max.min(decoded / SourceSpec::decoded_row_bytes(&self.schema)).max(1)
    }

    /// Returns whether records have parts before the value (`batch::envelope`).
    pub fn in_envelopes(&self) -> bool {
        decode::spec::in_envelopes(self.kind.bounds(), &self.schema)
    }

    /// Returns what a decoder of its records must know.
    pub fn decoder_spec(&self) -> DecoderSpec {
        let config = self.kind.declared();
        let (format, columns) = match config {
            Some(config) if config.makes_records() => {
                let format = config.format();
                let columns = SourceSpec::default_schema(&self.kind, &format);
                (format, columns)
            }
            _ => (self.format.clone(), self.schema.clone()),
        };
        let row_schema = match &self.kind {
            SourceKind::Plugin(plugin) => Some(&plugin.columns),
            SourceKind::Declared(config) => config.row_schema(),
            SourceKind::Table(_) => None,
        };
        DecoderSpec {
            format,
            columns,
            row_schema: row_schema.cloned(),
            bounds: self.kind.bounds(),
            accepts_values: config.is_some_and(SourceConfig::accepts_values),
            writes_hex: config.is_some_and(SourceConfig::writes_hex),
            make_rows: config.and_then(SourceConfig::rows),
            rejected_bytes_max: self.rejected_bytes_max,
        }
    }
}

impl Default for CheckpointEvery {
    fn default() -> CheckpointEvery {
        CheckpointEvery::Time(Duration::from_millis(limits::CHECKPOINT_EVERY_MS))
    }
}

impl SinkSpec {
    /// Creates a sink of this kind.
    pub fn new<S: Into<String>>(
        name: impl Into<String>,
        from: impl IntoIterator<Item = S>,
        kind: impl Into<SinkKind>,
    ) -> SinkSpec {
        SinkSpec { name: name.into(), from: strings(from), kind: kind.into(), wants_changes: false, encoding: None }
    }
}

pub(super) fn strings<S: Into<String>>(strings: impl IntoIterator<Item = S>) -> Vec<String> {
    strings.into_iter().map(Into::into).collect()
}
