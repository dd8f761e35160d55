//! The log of a Delta table: what it says of the table, read from its newest checkpoint and the commits behind that.
//!
//! A commit is a file of JSON lines, an *action* each, with the version of the table as its name. Whoever makes the file of the next
//! version first has committed; nobody replaces it.

use super::super::destination::Destination;
use super::{checkpoint, schema};
use arrow::datatypes::Schema;
use millstream_base::patience::{StoreError, StoreErrorKind};
use millstream_base::shown::harmless;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The folder of the log, within the table.
pub const FOLDER: &str = "_delta_log";
/// Says where the newest checkpoint is. It may be old, or not be there.
pub const LAST_CHECKPOINT: &str = "_delta_log/_last_checkpoint";
/// How much of what a log says a message shows.
const SHOWN_BYTES_MAX: usize = 200;

/// What readers may have to know that changes nothing for us: columns that we do not write, and what is looked at by itself.
const KNOWN_TO_READERS: [&str; 3] = ["timestampNtz", "vacuumProtocolCheck", "columnMapping"];
/// The same of writers. Where such a thing is in use, it is refused by itself.
const KNOWN_TO_WRITERS: [&str; 9] = [
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
/// The highest versions of protocols without lists of features, all of which are known.
const READER_VERSION_MAX: i64 = 2;
const WRITER_VERSION_MAX: i64 = 6;
/// A property of a table: after how long others drop the transactions of those who do not commit any more.
const TRANSACTIONS_KEPT: &str = "delta.setTransactionRetentionDuration";
/// Properties of tables of which rows only may be added, or whose changes are to be written beside: not with rows that replace others.
const REPLACING_REFUSED: [&str; 2] = ["delta.appendOnly", "delta.enableChangeDataFeed"];
/// Versions that have lists of features.
const READER_WITH_FEATURES: i64 = 3;
const WRITER_WITH_FEATURES: i64 = 7;

/// What readers and writers have to know.
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
    /// That of a table that all readers can read.
    pub const PLAIN: Protocol =
        Protocol { min_reader_version: 1, min_writer_version: 2, reader_features: None, writer_features: None };
}

/// What a table is.
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

/// What its files are.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Format {
    pub provider: String,
    #[serde(default)]
    pub options: BTreeMap<String, Option<String>>,
}

/// How far somebody who writes has come.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Transaction {
    pub app_id: String,
    pub version: i64,
    pub last_updated: Option<i64>,
}

/// One line of a commit, as far as it is looked at.
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
    /// A URI, as the log has it.
    pub path: String,
    #[serde(default)]
    pub partition_values: BTreeMap<String, Option<String>>,
    pub size: i64,
    /// JSON text.
    #[serde(default)]
    pub stats: Option<String>,
}

impl DataFile {
    /// The name of the file within the table. An error where it lies elsewhere.
    pub fn name(&self) -> Result<String, String> {
        let name = percent_decode_str(&self.path).decode_utf8_lossy().into_owned();
        let within = !name.starts_with('/') && !name.contains("://") && name.split('/').all(|part| part != "..");
        let shown = || format!("the file {} lies outside of the table", harmless(&name, SHOWN_BYTES_MAX));
        if within { Ok(name.clone()) } else { Err(shown()) }
    }
}

/// A checkpoint, which may be in several files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub version: u64,
    pub files: Vec<String>,
}

/// What the log says, up to a version.
#[derive(Debug)]
pub struct Table {
    pub version: u64,
    /// The checkpoint that it was read from.
    pub checkpoint: Option<Checkpoint>,
    protocol: Option<Protocol>,
    metadata: Option<Metadata>,
    transactions: BTreeMap<String, i64>,
    /// Its files by their decoded paths, where they are to be known: who removes one may write its path in another way than who has added it.
    files: Option<BTreeMap<Vec<u8>, DataFile>>,
}

/// What a sink needs of the table that it writes to.
#[derive(Clone)]
pub struct TableRequest {
    /// All columns.
    pub schema: arrow::datatypes::SchemaRef,
    pub partition_by: Vec<String>,
    /// Rows replace others, so that files are removed.
    pub replaces: bool,
}

impl TableRequest {
    /// What is to be known of a log: where files are removed, which there are.
    pub fn part(&self) -> checkpoint::Part {
        if self.replaces { checkpoint::Part::All } else { checkpoint::Part::Table }
    }
}

/// The name of a commit.
pub fn commit_name(version: u64) -> String {
    format!("{FOLDER}/{version:020}.json")
}

/// Something about a log that does not pass by itself.
pub fn wrong(place: &dyn Destination, reason: impl Into<String>) -> StoreError {
    StoreError {
        what: format!("use the table in {}", place.shown()),
        reason: reason.into(),
        kind: StoreErrorKind::Lasting,
    }
}

impl Table {
    /// Reads a log; `None`: there is no table.
    pub fn load(place: &dyn Destination, part: checkpoint::Part) -> Result<Option<Table>, StoreError> {
        let hint = place.read(LAST_CHECKPOINT)?.and_then(|text| serde_json::from_slice::<Value>(&text).ok());
        let hint = hint.and_then(|hint| hint["version"].as_u64());
        let mut names = Names::of(place, hint)?;
        if names.checkpoint.is_none() && hint.is_some() {
            names = Names::of(place, None)?;
        }
        let Names { checkpoint, commits } = names;
        let first = checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.version + 1);
        let behind: Vec<u64> = commits.range(first..).copied().collect();
        if checkpoint.is_none() && behind.is_empty() {
            return Ok(None);
        }
        let whole = behind.iter().zip(first..).all(|(there, wanted)| *there == wanted);
        if !whole {
            return Err(wrong(
                place,
                "its log has gaps: commits after the newest checkpoint are missing; repair it first",
            ));
        }
        let version = behind.last().copied().unwrap_or(first.saturating_sub(1));
        let files = (part == checkpoint::Part::All).then(BTreeMap::new);
        let (protocol, metadata, transactions) = (None, None, BTreeMap::new());
        let mut table = Table { version, checkpoint: checkpoint.clone(), protocol, metadata, transactions, files };
        for file in checkpoint.iter().flat_map(|checkpoint| &checkpoint.files) {
            let bytes = place.read(file)?.ok_or_else(|| wrong(place, format!("{file} is gone")))?;
            let read = checkpoint::read(bytes, part, |row| {
                table.apply(serde_json::from_value(row).map_err(|cause| cause.to_string())?)
            });
            read.map_err(|why| wrong(place, format!("{file}: {}", harmless(&why, SHOWN_BYTES_MAX))))?;
        }
        for version in behind {
            let name = commit_name(version);
            let bytes = place.read(&name)?.ok_or_else(|| wrong(place, format!("{name} is gone")))?;
            table.take(&bytes).map_err(|why| wrong(place, format!("{name}: {why}")))?;
        }
        Ok(Some(table))
    }

    /// Takes in what a commit says.
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

    /// Its files, where they are known.
    pub fn files(&self) -> impl Iterator<Item = &DataFile> {
        self.files.iter().flat_map(BTreeMap::values)
    }

    /// How Delta names the types of its columns, of those that are no structure of others.
    pub fn column_types(&self) -> BTreeMap<String, String> {
        let text = self.metadata.as_ref().map(|metadata| metadata.schema_string.as_str());
        let schema: Value = text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let of = |field: &Value| Some((field["name"].as_str()?.to_owned(), field["type"].as_str()?.to_owned()));
        schema["fields"].as_array().into_iter().flatten().filter_map(of).collect()
    }

    /// How far somebody who writes has come.
    pub fn transaction(&self, app: &str) -> Option<i64> {
        self.transactions.get(app).copied()
    }

    /// After how many commits the table wants a checkpoint, where it says so.
    pub fn checkpoint_interval(&self) -> Option<u64> {
        let said = self.metadata.as_ref()?.configuration.get("delta.checkpointInterval")?;
        said.as_ref()?.parse().ok().filter(|every| *every > 0)
    }

    /// Whether its tombstones have a time that only others know.
    pub fn keeps_tombstones(&self) -> bool {
        let says = |metadata: &Metadata| metadata.configuration.contains_key("delta.deletedFileRetentionDuration");
        self.metadata.as_ref().is_some_and(says)
    }

    /// Whether rows may be added to it by us.
    pub fn check(&self, wanted: &TableRequest) -> Result<(), String> {
        let (Some(protocol), Some(metadata)) = (&self.protocol, &self.metadata) else {
            return Err("its log does not describe the table; repair it first".into());
        };
        let mut unknown = BTreeSet::new();
        let (reader, writer) = (protocol.min_reader_version, protocol.min_writer_version);
        let of = |version: i64, features: &Option<Vec<String>>, with: i64, most: i64, known: &[&str], who: &str| {
            match features {
                Some(features) if version == with => features
                    .iter()
                    .filter(|one| !known.contains(&one.as_str()))
                    .map(|one| format!("`{}`", harmless(one, 60)))
                    .collect(),
                _ if version <= most || version == with => Vec::new(),
                _ => vec![format!("{who} version {version}")],
            }
        };
        unknown.extend(of(
            reader,
            &protocol.reader_features,
            READER_WITH_FEATURES,
            READER_VERSION_MAX,
            &KNOWN_TO_READERS,
            "reader",
        ));
        unknown.extend(of(
            writer,
            &protocol.writer_features,
            WRITER_WITH_FEATURES,
            WRITER_VERSION_MAX,
            &KNOWN_TO_WRITERS,
            "writer",
        ));
        if !unknown.is_empty() {
            let unknown: Vec<_> = unknown.into_iter().collect();
            return Err(format!(
                "the table needs what is not available in this version: {}; drop these features, or write another table",
                unknown.join(", ")
            ));
        }
        let setting = |name: &str| metadata.configuration.get(name).and_then(Option::as_deref);
        if setting("delta.columnMapping.mode").is_some_and(|mode| mode != "none") {
            return Err("the table gives its columns other names in the files (`delta.columnMapping.mode`), which is not available in this \
                        version; write another table"
                .into());
        }
        if setting(TRANSACTIONS_KEPT).is_some() {
            return Err(format!(
                "the table may forget which commits of a job it has (`{TRANSACTIONS_KEPT}`), and rows would be added again after a crash; \
                 take that property from the table (ALTER TABLE .. UNSET TBLPROPERTIES), or write another table"
            ));
        }
        if let Some(name) = metadata.configuration.keys().find_map(|key| key.strip_prefix("delta.constraints.")) {
            return Err(format!(
                "the table has the constraint `{}`, which is not looked at in this version; drop it, or write another table",
                harmless(name, SHOWN_BYTES_MAX)
            ));
        }
        if let Some(name) = REPLACING_REFUSED.iter().find(|name| wanted.replaces && setting(name) == Some("true")) {
            return Err(format!(
                "rows of the table cannot be replaced in this version while it has the property `{name}`; unset it (ALTER TABLE .. UNSET \
                 TBLPROPERTIES), or write another table"
            ));
        }
        if metadata.format.provider != "parquet" {
            return Err(format!("the files of the table are {}, not parquet", harmless(&metadata.format.provider, 60)));
        }
        if metadata.partition_columns != wanted.partition_by {
            return Err(format!(
                "the table is partitioned by {}; write partition_by = {} (`partition_by` is {})",
                list(&metadata.partition_columns),
                list(&metadata.partition_columns),
                list(&wanted.partition_by)
            ));
        }
        let schema = serde_json::from_str(&metadata.schema_string);
        let schema = schema.map_err(|_| "the schema in its log cannot be read; repair it first".to_owned())?;
        schema::check_fits(&wanted.schema, &schema)
    }
}

fn list(names: &[String]) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("\"{}\"", harmless(name, SHOWN_BYTES_MAX))).collect();
    format!("[{}]", names.join(", "))
}

/// The lines of a commit.
pub fn lines(commit: &[u8]) -> impl Iterator<Item = &[u8]> {
    commit.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty())
}

/// The first commit of a new table.
pub fn first_commit(wanted: &TableRequest, id: String, info: &Value, now_ms: i64) -> Result<Vec<u8>, String> {
    let schema = schema::of_rows(&wanted.schema)?;
    let metadata = Metadata {
        id,
        format: Format { provider: "parquet".into(), options: BTreeMap::new() },
        schema_string: schema.to_string(),
        partition_columns: wanted.partition_by.clone(),
        configuration: BTreeMap::new(),
        created_time: Some(now_ms),
    };
    let actions = [
        serde_json::json!({ "commitInfo": info }),
        serde_json::json!({ "protocol": Protocol::PLAIN }),
        serde_json::json!({ "metaData": metadata }),
    ];
    Ok(written(&actions))
}

/// Actions as a commit has them.
pub fn written(actions: &[Value]) -> Vec<u8> {
    actions.iter().flat_map(|action| format!("{action}\n").into_bytes()).collect()
}

/// What lies in a log, from a version on.
pub struct Names {
    /// The newest checkpoint that is whole.
    pub checkpoint: Option<Checkpoint>,
    pub commits: BTreeSet<u64>,
}

impl Names {
    /// All of them, or from this version on.
    pub fn of(place: &dyn Destination, from: Option<u64>) -> Result<Names, StoreError> {
        let behind = from.map_or(String::new(), |version| format!("{version:020}"));
        let names = place.names(FOLDER, &behind)?;
        let mut commits = BTreeSet::new();
        // The files of a checkpoint by its version and how many there are of it.
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
        let whole = checkpoints.into_iter().rev().find(|((_, of), files)| files.len() as u64 == *of);
        let checkpoint = whole.map(|((version, _), files)| Checkpoint {
            version,
            files: files.into_iter().map(|name| format!("{FOLDER}/{name}")).collect(),
        });
        Ok(Names { checkpoint, commits })
    }
}

/// All columns of the rows.
pub fn wanted(schema: &Schema, partition_by: &[String], replaces: bool) -> TableRequest {
    TableRequest { schema: std::sync::Arc::new(schema.clone()), partition_by: partition_by.to_vec(), replaces }
}
