//! The records of `wit/*.wit` as wasmtime passes them. What goes in borrows Arrow's buffers, so that a column is one
//! copy into the guest's memory; what comes out is one copy out of it. Names and order of fields are checked against
//! the component's types when it is loaded.

use wasmtime::component::{ComponentType, Lift, Lower};

/// `types.data-type`
#[derive(Clone, Debug, PartialEq, ComponentType, Lift, Lower)]
#[component(variant)]
pub enum DataType {
    #[component(name = "bool")]
    Bool,
    #[component(name = "int64")]
    Int64,
    #[component(name = "float64")]
    Float64,
    #[component(name = "text")]
    Text,
    #[component(name = "binary")]
    Binary,
    #[component(name = "timestamp")]
    Timestamp,
    #[component(name = "arrow")]
    Arrow(String),
}

/// `types.field`
#[derive(Clone, Debug, PartialEq, ComponentType, Lift, Lower)]
#[component(record)]
pub struct Field {
    pub name: String,
    #[component(name = "type")]
    pub kind: DataType,
    pub nullable: bool,
}

/// `types.schema`
#[derive(Clone, Debug, Default, PartialEq, ComponentType, Lift, Lower)]
#[component(record)]
pub struct Schema {
    pub fields: Vec<Field>,
}

/// `types.column`, on its way in.
#[derive(Clone, Copy, Debug, ComponentType, Lower)]
#[component(record)]
pub struct ColumnIn<'a> {
    pub validity: Option<&'a [u8]>,
    pub offsets: Option<&'a [u8]>,
    pub data: &'a [u8],
}

/// `types.batch`, on its way in.
#[derive(Clone, Copy, Debug, ComponentType, Lower)]
#[component(record)]
pub struct BatchIn<'a> {
    pub rows: u32,
    pub columns: &'a [ColumnIn<'a>],
}

/// `types.column`, as it came out: nothing is checked but that it lay in the guest's memory.
#[derive(Clone, Debug, Default, ComponentType, Lift)]
#[component(record)]
pub struct ColumnOut {
    pub validity: Option<Vec<u8>>,
    pub offsets: Option<Vec<u8>>,
    pub data: Vec<u8>,
}

/// `types.batch`, as it came out.
#[derive(Clone, Debug, Default, ComponentType, Lift)]
#[component(record)]
pub struct BatchOut {
    pub rows: u32,
    pub columns: Vec<ColumnOut>,
}

/// `types.context`
#[derive(Clone, Copy, Debug, ComponentType, Lower)]
#[component(record)]
pub struct Context<'a> {
    pub batch: u64,
    pub time: i64,
    pub watermark: Option<i64>,
    pub config: &'a str,
}

/// `types.rejection`
#[derive(Clone, Debug, ComponentType, Lift)]
#[component(record)]
pub struct Rejection {
    pub row: u32,
    pub reason: String,
}

/// `types.error`
#[derive(Clone, Debug, ComponentType, Lift)]
#[component(variant)]
pub enum GuestError {
    #[component(name = "config")]
    Config(String),
    #[component(name = "input")]
    Input(String),
    #[component(name = "internal")]
    Internal(String),
}

/// `types.description`
#[derive(Clone, Debug, ComponentType, Lift)]
#[component(record)]
pub struct WitDescription {
    pub name: String,
    pub version: String,
    pub doc: String,
    pub input: Schema,
    pub output: Schema,
    pub state: Schema,
    pub key: Option<Schema>,
    pub inverse: bool,
    #[component(name = "config-schema")]
    pub config_schema: String,
}

/// `transformer.output`
#[derive(Clone, Debug, ComponentType, Lift)]
#[component(record)]
pub struct WitOutput {
    pub rows: BatchOut,
    pub rejections: Vec<Rejection>,
}

/// `updater.groups`
#[derive(Clone, Copy, Debug, ComponentType, Lower)]
#[component(record)]
pub struct WitGroups<'a> {
    pub keys: BatchIn<'a>,
    pub rows: BatchIn<'a>,
    pub ends: &'a [u8],
    pub states: BatchIn<'a>,
    pub known: &'a [u8],
    #[component(name = "timed-out")]
    pub timed_out: &'a [u8],
}

/// `updater.updated`
#[derive(Clone, Debug, ComponentType, Lift)]
#[component(record)]
pub struct WitUpdated {
    pub states: BatchOut,
    pub kept: Vec<u8>,
    pub output: BatchOut,
    pub rejections: Vec<Rejection>,
}

/// `cogrouper.description`
#[derive(Clone, Debug, ComponentType, Lift)]
#[component(record)]
pub struct CogroupDescription {
    pub name: String,
    pub version: String,
    pub doc: String,
    pub inputs: Vec<Schema>,
    pub output: Schema,
    pub key: Option<Schema>,
    #[component(name = "config-schema")]
    pub config_schema: String,
}

/// `cogrouper.input`
#[derive(Clone, Copy, Debug, ComponentType, Lower)]
#[component(record)]
pub struct WitCogroupInput<'a> {
    pub rows: BatchIn<'a>,
    pub ends: &'a [u8],
}

/// `cogrouper.groups`
#[derive(Clone, Copy, Debug, ComponentType, Lower)]
#[component(record)]
pub struct WitCogroups<'a> {
    pub keys: BatchIn<'a>,
    pub inputs: &'a [WitCogroupInput<'a>],
}

/// `cogrouper.output`
#[derive(Clone, Debug, ComponentType, Lift)]
#[component(record)]
pub struct CogroupOutput {
    pub rows: BatchOut,
    pub rejections: Vec<Vec<Rejection>>,
}

/// `reader.description`
#[derive(Clone, Debug, ComponentType, Lift)]
#[component(record)]
pub struct ReaderDescription {
    pub name: String,
    pub version: String,
    pub doc: String,
    pub output: Schema,
    #[component(name = "config-schema")]
    pub config_schema: String,
}

/// `reader.next`
#[derive(Clone, Debug, ComponentType, Lift)]
#[component(variant)]
pub enum WitNext {
    #[component(name = "ready")]
    Ready,
    #[component(name = "pause")]
    Pause(u32),
    #[component(name = "ended")]
    Ended,
}

/// `reader.refusal`
#[derive(Clone, Debug, ComponentType, Lift)]
#[component(record)]
pub struct WitRefusal {
    pub data: Vec<u8>,
    pub reason: String,
}

/// `reader.polled`
#[derive(Clone, Debug, ComponentType, Lift)]
#[component(record)]
pub struct WitPolled {
    pub rows: BatchOut,
    pub refused: Vec<WitRefusal>,
    pub position: Option<Vec<u8>>,
    pub next: WitNext,
}

/// `writer.promise`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
// Guests make them.
#[allow(dead_code)]
pub enum WitPromise {
    #[component(name = "exactly-once")]
    ExactlyOnce,
    #[component(name = "at-least-once")]
    AtLeastOnce,
}

/// `writer.description`
#[derive(Clone, Debug, ComponentType, Lift)]
#[component(record)]
pub struct WriterDescription {
    pub name: String,
    pub version: String,
    pub doc: String,
    pub input: Schema,
    pub promise: WitPromise,
    #[component(name = "config-schema")]
    pub config_schema: String,
}

/// `writer.identity`
#[derive(Clone, Copy, Debug, ComponentType, Lower)]
#[component(record)]
pub struct WitIdentity<'a> {
    pub job: &'a str,
    #[component(name = "job-id")]
    pub job_id: &'a str,
    pub sink: &'a str,
}

/// `writer.owner`
#[derive(Clone, Copy, Debug, ComponentType, Lower)]
#[component(record)]
pub struct WitOwner<'a> {
    pub identity: WitIdentity<'a>,
    pub generation: u64,
}

/// `net.fault`
#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lower)]
#[component(variant)]
pub enum WitNetFault {
    #[component(name = "timeout")]
    Timeout,
    #[component(name = "closed")]
    Closed,
    #[component(name = "failed")]
    Failed(String),
}

/// `net.datagram`
#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lower)]
#[component(record)]
pub struct WitDatagram {
    pub sender: String,
    pub data: Vec<u8>,
}

/// `timers.due-times`
#[derive(Clone, Debug, ComponentType, Lower)]
#[component(record)]
pub struct WitDueTimes {
    pub ends: Vec<u8>,
    pub times: Vec<u8>,
}

/// `log.level`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
pub enum WitLevel {
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
}

/// Arguments of `describe`.
pub type DescribeArgs<'a> = (&'a str, &'a Schema);
/// Arguments of `describe` of world `cogroup`.
pub type DescribeInputsArgs<'a> = (&'a str, &'a [Schema]);
/// Arguments of `process` and of `lift`.
pub type BatchArgs<'a> = (Context<'a>, BatchIn<'a>);
/// Arguments of `combine`, `lower` and `inverse`.
pub type PairArgs<'a> = (Context<'a>, BatchIn<'a>, BatchIn<'a>);
/// Arguments of `update`.
pub type UpdateArgs<'a> = (Context<'a>, WitGroups<'a>);
/// Arguments of `migrate`.
pub type MigrateArgs<'a> = (&'a str, &'a str, &'a Schema, BatchIn<'a>);
/// Arguments of `describe` of world `source`, and of `partitions`.
pub type ConfigArgs<'a> = (&'a str,);
/// Arguments of `open`.
pub type OpenArgs<'a> = (&'a str, &'a str, Option<&'a [u8]>);
/// Arguments of `poll`.
pub type PollArgs = (u32, u32);
/// Arguments of `durable` and `published`.
pub type PositionArgs<'a> = (&'a [u8],);
/// Arguments of `committed`.
pub type CommittedArgs<'a> = (&'a str, WitIdentity<'a>);
/// Arguments of `open` of world `sink`.
pub type OpenWriterArgs<'a> = (&'a str, &'a Schema, WitOwner<'a>);
/// Arguments of `begin`.
pub type BeginArgs = (u64, i64);
/// Arguments of `write`.
pub type RowsArgs<'a> = (BatchIn<'a>,);
/// Arguments of `commit`.
pub type CommitArgs = (u64,);
/// Arguments of `cogroup`.
pub type CogroupArgs<'a> = (Context<'a>, WitCogroups<'a>);
/// The result type of every function.
pub type GuestResult<T> = (Result<T, GuestError>,);
