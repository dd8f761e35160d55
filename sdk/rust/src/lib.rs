//! Write Millstream plugins in Rust: a function on rows becomes a WebAssembly component.
//!
//! ```
//! use millstream_sdk::{Out, Row, json, transform};
//!
//! #[derive(Row)]
//! struct Line<'a> {
//!     value: &'a str,
//! }
//!
//! #[derive(Row)]
//! struct Word<'a> {
//!     word: &'a str,
//! }
//!
//! /// Splits text into words.
//! #[transform]
//! fn split(line: Line, out: &mut Out<Word>) {
//!     for word in line.value.split_whitespace() {
//!         out.push(Word { word });
//!     }
//! }
//!
//! let run = millstream_sdk::testing::transform::<split>().run(json!([{"value": "to be"}])).unwrap();
//! assert_eq!(run.rows, json!([{"word": "to"}, {"word": "be"}]));
//! ```
//!
//! [`macro@Row`] makes a struct a row, [`macro@transform`], [`macro@update`], [`macro@aggregate`], [`macro@cogroup`],
//! [`macro@source`] and [`macro@sink`] make a function or an `impl` block a plugin of that world, [`testing`] runs it in a plain `cargo test`. Plugins that
//! work on any columns implement the trait of their world ([`Transform`], [`Update`], [`Aggregate`], [`Cogroup`]) on whole
//! batches.

// `millstream_captures` is set by `millstream build`, see `printed`.
#![allow(unexpected_cfgs)]
#![cfg_attr(all(target_arch = "wasm32", millstream_captures), feature(internal_output_capture))]

// The macros name this crate; so do they within its own tests.
extern crate self as millstream_sdk;

pub mod aggregate;
pub mod batch;
#[doc(hidden)]
pub mod bindings;
mod cell;
pub mod cogroup;
pub mod counter;
mod error;
#[doc(hidden)]
pub mod export;
pub mod files;
pub mod log;
pub mod migrate;
pub mod net;
mod out;
mod printed;
#[doc(hidden)]
pub mod row;
mod schema;
pub mod sink;
pub mod source;
mod stage;
pub mod testing;
pub mod text;
pub mod timers;
pub mod transform;
pub mod update;
#[doc(hidden)]
pub mod writer;
#[doc(hidden)]
pub mod written;

pub use aggregate::Aggregate;
pub use batch::Batch;
pub use cell::{Cell, Timestamp};
pub use cogroup::Cogroup;
pub use error::{Error, Rejected, Rejection};
pub use migrate::{Migrate, OldStates};
/// Makes a struct a row: each field is a column of the field's name, `#[row(name = "…")]` gives it another one. A field of text
/// with `#[row(type = "…")]` is a column of that type, written out: a struct or a list as JSON.
///
/// ```
/// # use millstream_sdk::{Date, Decimal, Row, Timestamp};
/// #[derive(Row)]
/// struct Click<'a> {
///     user: &'a str,
///     #[row(name = "type")]
///     kind: Option<&'a str>,
///     at: Timestamp,
///     day: Date,
///     price: Decimal<12, 2>,
///     #[row(type = "list<text>")]
///     tags: &'a str,
/// }
/// ```
pub use millstream_sdk_macros::Row;
/// Makes an `impl` block with the functions `lift`, `combine`, `lower` and perhaps `inverse` a plugin of world
/// `aggregate`.
///
/// The type is a unit struct; or, where functions take `&self`, the stage's config. `lower` may take the key before
/// the accumulator. Each may take `&Context`, and return a `Result`, whose `Err` fails the call.
///
/// ```
/// # use millstream_sdk::{Row, aggregate};
/// # #[derive(Row)] struct Price { price: f64 }
/// # #[derive(Row)] struct Sum { sum: f64, count: i64 }
/// # #[derive(Row)] struct Mean { mean: f64 }
/// struct MeanPrice;
///
/// /// The mean price.
/// #[aggregate]
/// impl MeanPrice {
///     fn lift(row: Price) -> Sum {
///         Sum { sum: row.price, count: 1 }
///     }
///     fn combine(left: Sum, right: Sum) -> Sum {
///         Sum { sum: left.sum + right.sum, count: left.count + right.count }
///     }
///     fn lower(sum: Sum) -> Mean {
///         Mean { mean: sum.sum / sum.count as f64 }
///     }
/// }
/// ```
pub use millstream_sdk_macros::aggregate;
/// Makes a function a plugin of world `cogroup`, which is called for each key with its rows of several inputs.
///
/// The function takes its key (a row; without it the plugin works with any key) and one `Rows<Row>` for each input, in the
/// order of the stage's inputs: `from` first, then those of `cogroup`. It may take `&mut Out<Row>` or `&mut KeyedOut<Row>`
/// (whose rows begin with the key columns), `&Config` and `&Context`. Without an output it returns its rows: a row, an
/// `Option`, a `Vec` or `impl Iterator`. A `Result` around any of these refuses all rows of the key by `Err`.
///
/// ```
/// # use millstream_sdk::{KeyedOut, Row, Rows, cogroup};
/// #[derive(Row)]
/// struct Order {
///     amount: f64,
/// }
///
/// #[derive(Row)]
/// struct Summary {
///     total: f64,
///     clicks: i64,
/// }
///
/// /// What each user spent, and how often they clicked.
/// #[cogroup]
/// fn summary(orders: Rows<Order>, clicks: Rows, out: &mut KeyedOut<Summary>) {
///     let clicks = clicks.len() as i64;
///     out.push(Summary { total: orders.map(|order| order.amount).sum(), clicks });
/// }
/// ```
pub use millstream_sdk_macros::cogroup;
/// Makes an `impl Sink for …` block a plugin of world `sink`: rows that leave for elsewhere.
///
/// ```
/// # use millstream_sdk::{Batch, Error, Row, Schema, Sink, log, sink, sink::{Owner, Promise, Refusals}};
/// #[derive(Row)]
/// struct Alarm<'a> {
///     sensor: &'a str,
///     value: f64,
/// }
///
/// struct Alarms;
///
/// /// Says in the log what is alarming.
/// #[sink]
/// impl Sink for Alarms {
///     type Config = ();
///
///     fn promise(_: &()) -> Promise {
///         Promise::AtLeastOnce
///     }
///
///     fn reads(_: &(), _: &Schema) -> Result<Schema, Error> {
///         Ok(sink::columns::<Alarm>())
///     }
///
///     fn open(_: (), _: &Schema, _: &Owner) -> Result<Self, Error> {
///         Ok(Alarms)
///     }
///
///     fn write(&mut self, rows: &Batch, refused: &mut Refusals) -> Result<(), Error> {
///         for (place, alarm) in rows.each::<Alarm>()?.enumerate() {
///             match alarm.value.is_nan() {
///                 true => refused.refuse(place, "this is no value"),
///                 false => log::warn(format!("{}: {}", alarm.sensor, alarm.value)),
///             }
///         }
///         Ok(())
///     }
///
///     fn commit(&mut self, _: u64) -> Result<(), Error> {
///         Ok(())
///     }
/// }
/// ```
///
/// The doc comment becomes the plugin's description, `#[sink(config_schema = "…")]` gives it a JSON Schema of its config.
pub use millstream_sdk_macros::sink;
/// Makes an `impl Source for …` block a plugin of world `source`: rows from elsewhere.
///
/// ```
/// # use millstream_sdk::{Error, Row, Source, source, source::{Arrivals, Polled}};
/// # use std::time::Duration;
/// #[derive(Row)]
/// struct Number {
///     n: i64,
/// }
///
/// #[derive(serde::Deserialize)]
/// struct Config {
///     up_to: i64,
/// }
///
/// struct Numbers {
///     next: i64,
///     up_to: i64,
/// }
///
/// /// The numbers from 0 on.
/// #[source]
/// impl Source for Numbers {
///     type Config = Config;
///     type Row = Number;
///
///     fn open(config: Config, _partition: &str, position: Option<&[u8]>) -> Result<Self, Error> {
///         let next = match position {
///             Some(position) => i64::from_le_bytes(position.try_into().map_err(Error::internal)?),
///             None => 0,
///         };
///         Ok(Numbers { next, up_to: config.up_to })
///     }
///
///     fn poll(&mut self, rows: &mut Arrivals<Number>, _wait: Duration) -> Result<Polled, Error> {
///         while rows.left() > 0 && self.next < self.up_to {
///             rows.push(Number { n: self.next });
///             self.next += 1;
///         }
///         let polled = if self.next < self.up_to { Polled::ready() } else { Polled::ended() };
///         Ok(polled.at(self.next.to_le_bytes()))
///     }
/// }
/// ```
///
/// The doc comment becomes the plugin's description, `#[source(config_schema = "…")]` gives it a JSON Schema of its config.
pub use millstream_sdk_macros::source;
/// Makes a function a plugin of world `transform`: rows in, rows out.
///
/// The function takes a row, and may take in any order `&mut Out<Row>` for the rows it returns, `&Config` for the
/// stage's config (any type with serde's `Deserialize`) and `&Context` for batch id and time. Without an `Out` it
/// returns its rows: a row (map), an `Option` (filter), a `Vec` or `impl Iterator` (flat map). A `Result` around any of
/// these refuses the row by `Err`: with a text, any error, or a `Rejection`.
///
/// ```
/// # use millstream_sdk::{Row, transform};
/// #[derive(Row)]
/// struct Order {
///     amount: f64,
/// }
///
/// #[derive(serde::Deserialize)]
/// struct Config {
///     at_least: f64,
/// }
///
/// /// Keeps large orders.
/// #[transform]
/// fn large(order: Order, config: &Config) -> Option<Order> {
///     (order.amount >= config.at_least).then_some(order)
/// }
/// ```
///
/// Rows that are null in a field that is no `Option` are refused before the function sees them. The doc comment
/// becomes the plugin's description, `#[transform(config_schema = "…")]` gives it a JSON Schema of its config.
/// On `impl Transform for …` the macro only exports the plugin.
pub use millstream_sdk_macros::transform;
/// Makes a function a plugin of world `update`, which is called for each key with its rows and its state.
///
/// The function takes, in any order and each only if it wants it: its key (a row; without it the plugin works with any
/// key), `Rows<Row>` (or `Rows` to count rows of any input), `Option<State>` (`None` for a new key), `&mut Out<Row>` or
/// `&mut KeyedOut<Row>` (whose rows begin with the key columns), `&Config`, `&Context` and `&mut Timers`
/// ([`Timers`]: to be called for the key at a time). It returns the new state:
/// `State`, or `Option<State>` where `None` removes the key, or a `Result` of these, where `Err` refuses all rows of
/// the key and leaves its state as it was.
///
/// ```
/// # use millstream_sdk::{KeyedOut, Row, Rows, update};
/// #[derive(Row)]
/// struct Count {
///     count: i64,
/// }
///
/// /// Counts the rows of each key.
/// #[update]
/// fn count(rows: Rows, state: Option<Count>, out: &mut KeyedOut<Count>) -> Count {
///     let count = state.map_or(0, |state| state.count) + rows.len() as i64;
///     out.push(Count { count });
///     Count { count }
/// }
/// ```
///
/// A version whose state has other columns than that of versions before it takes over their states, if it says how by `From`
/// or `TryFrom`: `#[update(migrates_from = OldState)]`, or a list of types, `[First, Second]`. Which of them the states are
/// is told by their columns.
///
/// ```
/// # use millstream_sdk::{Row, Rows, update};
/// /// The state of versions up to 1.4.
/// #[derive(Row)]
/// struct Count {
///     count: i64,
/// }
///
/// #[derive(Row)]
/// struct Counts {
///     all: i64,
///     most: Option<i64>,
/// }
///
/// impl From<Count> for Counts {
///     fn from(old: Count) -> Counts {
///         Counts { all: old.count, most: None }
///     }
/// }
///
/// /// Counts the rows of each key, and the most of them in a batch.
/// #[update(migrates_from = Count)]
/// fn counts(rows: Rows, state: Option<Counts>) -> Counts {
///     let now = rows.len() as i64;
///     let Counts { all, most } = state.unwrap_or(Counts { all: 0, most: None });
///     Counts { all: all + now, most: most.max(Some(now)) }
/// }
/// ```
pub use millstream_sdk_macros::update;
pub use out::{Append, KeyedOut, Out};
pub use row::Row;
pub use schema::{Description, Field, Schema, Type};
pub use serde_json::json;
pub use sink::Sink;
pub use source::Source;
pub use stage::{Context, Stage};
pub use timers::Timers;
pub use transform::Transform;
pub use update::{Rows, Update};
pub use written::{Date, Decimal};

/// The README's examples, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
