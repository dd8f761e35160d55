//! The log of a Delta table: the state of the table, read from its newest checkpoint and the commits after it.
//!
//! A commit is a file of JSON lines with one *action* each, named by the version of the table. The writer that creates the file of the next
//! version first has committed; no writer replaces it.

use super::super::destination::Destination;
use super::{checkpoint, schema};
use arrow::datatypes::Schema;
use millstream_base::retry::{StoreError, StoreErrorKind};
use millstream_base::shown::harmless;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The directory of the log within the table.
pub const DIR: &str = "_delta_log";
/// A file that names the newest checkpoint. It may be outdated or missing.
pub const LAST_CHECKPOINT: &str = "_delta_log/_last_checkpoint";
/// Maximum bytes of log content in an error message.
const SHOWN_BYTES_MAX: usize = 200;

/// Reader features that need no support here: they concern columns that the sink does not write, or are checked separately.
const READER_FEATURES_IGNORED: [&str; 3] = ["timestampNtz", "vacuumProtocolCheck", "columnMapping"];
/// Writer features that need no support here. If one of them is in use, its own check rejects it.
const WRITER_FEATURES_IGNORED: [&str; 9] = [
    "appendOnly",
    "invariants",
    "checkConstraints",
    "changeDataFeed",
    "generatedColumns",
    "identityColumns",
    "columnMapping",
    "timestampNtz",
    "vacuumProtocolCheck",
];
/// The highest protocol versions without feature lists. All features of these versions are supported.
const READER_VERSION_MAX: i64 = 2;
const WRITER_VERSION_MAX: i64 = 6;
/// The table property for how long other writers keep the transactions of inactive applications.
const TRANSACTION_RETENTION: &str = "delta.setTransactionRetentionDuration";
/// Table properties that forbid changes other than appended rows, or require a change log: incompatible with rows that replace others.
const REPLACE_FORBIDDEN: [&str; 2] = ["delta.appendOnly", "delta.enableChangeDataFeed"];
/// The protocol versions that have feature lists.
const READER_WITH_FEATURES: i64 = 3;
const WRITER_WITH_FEATURES: i64 = 7;

/// What readers and writers have to support.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Protocol {
    min_reader_version: i64,
    min_writer_version: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reader_features: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    writer_features: Option<Vec<String>>,
}

impl Protocol {
    /// The protocol of a table that all readers can read.
    pub const PLAIN: Protocol =
        Protocol { min_reader_version: 1, min_writer_version: 2, reader_features: None, writer_features: None };
}

/// The metadata of a table.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    pub id: String,
    pub format: Format,
    pub schema_string: String,
    pub partition_columns: Vec<String>,
    #[serde(default)]
    pub configuration: BTreeMap<String, Option<String>>,
    pub created_time: Option<i64>,
}

/// The format of a table's files.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Format {
    pub provider: String,
    #[serde(default)]
    pub options: BTreeMap<String, Option<String>>,
}

/// The progress of a writer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Transaction {
    pub app_id: String,
    pub version: i64,
    pub last_updated: Option<i64>,
}

/// One line of a commit, reduced to the actions that are used.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Action {
    pub protocol: Option<Protocol>,
    pub meta_data: Option<Metadata>,
    pub txn: Option<Transaction>,
    /// A [`DataFile`].
    pub add: Option<Value>,
    pub remove: Option<Value>,
}

/// A file with rows of the table.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DataFile {
    /// A URI, as in the log.
    pub path: String,
    #[serde(default)]
    pub partition_values: BTreeMap<String, Option<String>>,
    pub size: i64,
    /// JSON text.
    #[serde(default)]
    pub stats: Option<String>,
}

impl DataFile {
    /// Returns the name of the file within the table. An error if it is outside of the table.
    pub fn name(&self) -> Result<String, String> {
        let name = percent_decode_str(&self.path).decode_utf8_lossy().into_owned();
        let within = !name.starts_with('/') && !name.contains("://") && name.split('/').all(|part| part != "..");
        let shown = || format!("the file {} lies outside of the table", harmless(&name, SHOWN_BYTES_MAX));
        if within { Ok(name.clone()) } else { Err(shown()) }
    }
}

/// A checkpoint, which may consist of several files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub version: u64,
    pub files: Vec<String>,
}

/// The state of the table at a version.
#[derive(Debug)]
pub struct Table {
    pub version: u64,
    /// The checkpoint from which it was read.
    pub checkpoint: Option<Checkpoint>,
    protocol: Option<Protocol>,
    metadata: Option<Metadata>,
    transactions: BTreeMap<String, i64>,
    /// The files by their decoded paths, if they were read. The writer that removes a file may encode its path differently from the writer
    /// that added it.
    files: Option<BTreeMap<Vec<u8>, DataFile>>,
}

/// What a sink requires of the table it writes to.
#[derive(Clone)]
pub struct TableRequest {
    /// All columns.
    pub schema: arrow::datatypes::SchemaRef,
    pub partition_by: Vec<String>,
    /// Whether rows replace others, so that files are removed.
    pub replaces: bool,
}

impl TableRequest {
    /// Returns the part of a log to read: with its files, if files are removed.
    pub fn part(&self) -> checkpoint::Part {
        if self.replaces { checkpoint::Part::All } else { checkpoint::Part::Table }
    }
}

/// Returns the name of a commit.
pub fn commit_name(version: u64) -> String {
    format!("{DIR}/{version:020}.json")
}

/// Returns a permanent error about a log.
pub fn permanent_error(destination: &dyn Destination, reason: impl Into<String>) -> StoreError {
    StoreError {
        what: format!("use the table in {}", destination.shown()),
        reason: reason.into(),
        kind: StoreErrorKind::Permanent,
    }
}

impl Table {
    /// Reads a log; `None` if the table does not exist.
    pub fn load(destination: &dyn Destination, part: checkpoint::Part) -> Result<Option<Table>, StoreError> {
        let hint = destination.read(LAST_CHECKPOINT)?.and_then(|text| serde_json::from_slice::<Value>(&text).ok());
        let hint = hint.and_then(|hint| hint["version"].as_u64());
        let mut names = LogFiles::list(destination, hint)?;
        if names.checkpoint.is_none() && hint.is_some() {
            names = LogFiles::list(destination, None)?;
        }
        let LogFiles { checkpoint, commits } = names;
        let first = checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.version + 1);
        let after: Vec<u64> = commits.range(first..).copied().collect();
        if checkpoint.is_none() && after.is_empty() {
            return Ok(None);
        }
        let complete = after.iter().zip(first..).all(|(version, expected)| *version == expected);
        if !complete {
            return Err(permanent_error(
                destination,
                "its log has gaps: commits after the newest checkpoint are missing; repair it first",
            ));
        }
        let version = after.last().copied().unwrap_or(first.saturating_sub(1));
        let files = (part == checkpoint::Part::All).then(BTreeMap::new);
        let (protocol, metadata, transactions) = (None, None, BTreeMap::new());
        let mut table = Table { version, checkpoint: checkpoint.clone(), protocol, metadata, transactions, files };
        for file in checkpoint.iter().flat_map(|checkpoint| &checkpoint.files) {
            let bytes = destination
                .read(file)?
                .ok_or_else(|| permanent_error(destination, format!("{file} does not exist")))?;
            let read = checkpoint::read(bytes, part, |row| {
                table.apply(serde_json::from_value(row).map_err(|cause| cause.to_string())?)
            });
            read.map_err(|why| permanent_error(destination, format!("{file}: {}", harmless(&why, SHOWN_BYTES_MAX))))?;
        }
        for version in after {
            let name = commit_name(version);
            let bytes = destination
                .read(&name)?
                .ok_or_else(|| permanent_error(destination, format!("{name} does not exist")))?;
            table.take(&bytes).map_err(|why| permanent_error(destination, format!("{name}: {why}")))?;
        }
        Ok(Some(table))
    }

    /// Applies a commit.
    pub fn take(&mut self, commit: &[u8]) -> Result<(), String> {
        for line in lines(commit) {
            let action = serde_json::from_slice(line);
            let applied = action.map_err(|cause| cause.to_string()).and_then(|action| self.apply(action));
            applied.map_err(|cause| harmless(&cause, SHOWN_BYTES_MAX))?;
        }
        Ok(())
    }

    fn apply(&mut self, action: Action) -> Result<(), String> {
        self.protocol = action.protocol.or(self.protocol.take());
        self.metadata = action.meta_data.or(self.metadata.take());
        if let Some(txn) = action.txn {
            self.transactions.insert(txn.app_id, txn.version);
        }
        let Some(files) = &mut self.files else { return Ok(()) };
        let key = |path: &str| percent_decode_str(path).collect::<Vec<u8>>();
        if let Some(removed) = action.remove {
            files.remove(&key(removed["path"].as_str().ok_or("a file that is removed has no path")?));
        }
        if let Some(added) = action.add {
            let added: DataFile = serde_json::from_value(added).map_err(|cause| cause.to_string())?;
            files.insert(key(&added.path), added);
        }
        Ok(())
    }

    /// Returns the files, if they were read.
    pub fn files(&self) -> impl Iterator<Item = &DataFile> {
        self.files.iter().flat_map(BTreeMap::values)
    }

    /// Returns the Delta types of the columns, except of nested ones.
    pub fn column_types(&self) -> BTreeMap<String, String> {
        let text = self.metadata.as_ref().map(|metadata| metadata.schema_string.as_str());
        let schema: Value = text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let of = |field: &Value| Some((field["name"].as_str()?.to_owned(), field["type"].as_str()?.to_owned()));
        schema["fields"].as_array().into_iter().flatten().filter_map(of).collect()
    }

    /// Returns the progress of a writer.
    pub fn transaction(&self, app: &str) -> Option<i64> {
        self.transactions.get(app).copied()
    }

    /// Returns after how many commits the table requires a checkpoint, if it sets that.
    pub fn checkpoint_interval(&self) -> Option<u64> {
        let interval = self.metadata.as_ref()?.configuration.get("delta.checkpointInterval")?;
        interval.as_ref()?.parse().ok().filter(|every| *every > 0)
    }

    /// Whether the table sets a tombstone retention that this code does not interpret.
    pub fn keeps_tombstones(&self) -> bool {
        let says = |metadata: &Metadata| metadata.configuration.contains_key("delta.deletedFileRetentionDuration");
        self.metadata.as_ref().is_some_and(says)
    }

    /// Checks that this sink may add rows to the table.
    pub fn check(&self, table_request: &TableRequest) -> Result<(), String> {
        let (Some(protocol), Some(metadata)) = (&self.protocol, &self.metadata) else {
            return Err("its log does not describe the table; repair it first".into());
        };
        let mut unknown = BTreeSet::new();
        let (reader, writer) = (protocol.min_reader_version, protocol.min_writer_version);
        let of = |version: i64, features: &Option<Vec<String>>, with: i64, max: i64, known: &[&str], who: &str| {
            match features {
                Some(features) if version == with => features
                    .iter()
                    .filter(|one| !known.contains(&one.as_str()))
                    .map(|one| format!("`{}`", harmless(one, 60)))
                    .collect(),
                _ if version <= max || version == with => Vec::new(),
                _ => vec![format!("{who} version {version}")],
            }
        };
        unknown.extend(of(
            reader,
            &protocol.reader_features,
            READER_WITH_FEATURES,
            READER_VERSION_MAX,
            &READER_FEATURES_IGNORED,
            "reader",
        ));
        unknown.extend(of(
            writer,
            &protocol.writer_features,
            WRITER_WITH_FEATURES,
            WRITER_VERSION_MAX,
            &WRITER_FEATURES_IGNORED,
            "writer",
        ));
        if !unknown.is_empty() {
            let unknown: Vec<_> = unknown.into_iter().collect();
            return Err(format!(
                "the table needs features that this version does not support: {}; drop these features, or write \
                another table",
                unknown.join(", ")
            ));
        }
        let setting = |name: &str| metadata.configuration.get(name).and_then(Option::as_deref);
        if setting("delta.columnMapping.mode").is_some_and(|mode| mode != "none") {
            return Err("the table maps its column names (`delta.columnMapping.mode`), which this version does not \
                        support; write another table"
                .into());
        }
        if setting(TRANSACTION_RETENTION).is_some() {
            return Err(format!(
                "the table may drop its record of a job's commits (`{TRANSACTION_RETENTION}`), so rows would be \
                 added again after a crash; unset that property (ALTER TABLE .. UNSET TBLPROPERTIES), or write \
                 another table"
            ));
        }
        if let Some(name) = metadata.configuration.keys().find_map(|key| key.strip_prefix("delta.constraints.")) {
            return Err(format!(
                "the table has the constraint `{}`, which this version does not check; drop it, or write another \
                table",
                harmless(name, SHOWN_BYTES_MAX)
            ));
        }
        if let Some(name) =
            REPLACE_FORBIDDEN.iter().find(|name| table_request.replaces && setting(name) == Some("true"))
        {
            return Err(format!(
                "rows of the table cannot be replaced in this version while it has the property `{name}`; unset it (ALTER TABLE .. UNSET \
                 TBLPROPERTIES), or write another table"
            ));
        }
        if metadata.format.provider != "parquet" {
            return Err(format!("the files of the table are {}, not parquet", harmless(&metadata.format.provider, 60)));
        }
        if metadata.partition_columns != table_request.partition_by {
            return Err(format!(
                "the table is partitioned by {}; write partition_by = {} (`partition_by` is {})",
                list(&metadata.partition_columns),
                list(&metadata.partition_columns),
                list(&table_request.partition_by)
            ));
        }
        let schema = serde_json::from_str(&metadata.schema_string);
        let schema = schema.map_err(|_| "the schema in its log cannot be read; repair it first".to_owned())?;
        schema::check_fits(&table_request.schema, &schema)
    }
}

fn list(names: &[String]) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("\"{}\"", harmless(name, SHOWN_BYTES_MAX))).collect();
    format!("[{}]", names.join(", "))
}

/// Returns the lines of a commit.
pub fn lines(commit: &[u8]) -> impl Iterator<Item = &[u8]> {
    commit.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty())
}

/// Returns the first commit of a new table.
pub fn first_commit(table_request: &TableRequest, id: String, info: &Value, now_ms: i64) -> Result<Vec<u8>, String> {
    let schema = schema::of_rows(&table_request.schema)?;
    let metadata = Metadata {
        id,
        format: Format { provider: "parquet".into(), options: BTreeMap::new() },
        schema_string: schema.to_string(),
        partition_columns: table_request.partition_by.clone(),
        configuration: BTreeMap::new(),
        created_time: Some(now_ms),
    };
    let actions = [
        serde_json::json!({ "commitInfo": info }),
        serde_json::json!({ "protocol": Protocol::PLAIN }),
        serde_json::json!({ "metaData": metadata }),
    ];
    Ok(encode_commit(&actions))
}

/// Encodes actions as a commit.
pub fn encode_commit(actions: &[Value]) -> Vec<u8> {
    actions.iter().flat_map(|action| format!("{action}\n").into_bytes()).collect()
}

/// The files in a log, from a version on.
pub struct LogFiles {
    /// The newest complete checkpoint.
    pub checkpoint: Option<Checkpoint>,
    pub commits: BTreeSet<u64>,
}

impl LogFiles {
    /// Lists all of them, or those from this version on.
    pub fn list(destination: &dyn Destination, from: Option<u64>) -> Result<LogFiles, StoreError> {
        let after = from.map_or(String::new(), |version| format!("{version:020}"));
        let names = destination.names(DIR, &after)?;
        let mut commits = BTreeSet::new();
        // The files of a checkpoint, by its version and their total number.
        let mut checkpoints: BTreeMap<(u64, u64), BTreeSet<String>> = BTreeMap::new();
        for name in names {
            let Some((version, rest)) = name.split_once('.') else { continue };
            if version.len() != 20 || !version.bytes().all(|byte| byte.is_ascii_digit()) {
                continue;
            }
            let Ok(version) = version.parse() else { continue };
            let parts: Vec<&str> = rest.split('.').collect();
            match parts.as_slice() {
                ["json"] => drop(commits.insert(version)),
                ["checkpoint", "parquet"] => drop(checkpoints.entry((version, 1)).or_default().insert(name)),
                ["checkpoint", _, of, "parquet"] => {
                    if let Ok(of) = of.parse() {
                        checkpoints.entry((version, of)).or_default().insert(name);
                    }
                }
                _ => {}
            }
        }
        let complete = checkpoints.into_iter().rev().find(|((_, of), files)| files.len() as u64 == *of);
        let checkpoint = complete.map(|((version, _), files)| Checkpoint {
            version,
            files: files.into_iter().map(|name| format!("{DIR}/{name}")).collect(),
        });
        Ok(LogFiles { checkpoint, commits })
    }
}

/// Returns a request for all columns of the rows.
pub fn table_request(schema: &Schema, partition_by: &[String], replaces: bool) -> TableRequest {
    TableRequest { schema: std::sync::Arc::new(schema.clone()), partition_by: partition_by.to_vec(), replaces }
}
