//! Writes Millstream plugins in Rust: a function on rows becomes a WebAssembly component.
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
//! [`macro@Row`] turns a struct into a row. [`macro@transform`], [`macro@update`], [`macro@aggregate`], [`macro@cogroup`],
//! [`macro@source`] and [`macro@sink`] turn a function or an `impl` block into a plugin of that world. [`testing`] runs it in a
//! plain `cargo test`. Plugins that accept any columns implement the trait of their world ([`Transform`], [`Update`],
//! [`Aggregate`], [`Cogroup`]) on batches.

// `millstream_captures` is set by `millstream build`, see `printed`.
#![allow(unexpected_cfgs)]
#![cfg_attr(all(target_arch = "wasm32", millstream_captures), feature(internal_output_capture))]

// The macros name this crate, also in its own tests.
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
/// Turns a struct into a row. Each field is a column of the field's name, or of the name in `#[row(name = "…")]`. A text field
/// with `#[row(type = "…")]` is a column of that type, encoded as text: a struct or a list as JSON.
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
/// Turns an `impl` block with the functions `lift`, `combine`, `lower` and optionally `inverse` into a plugin of world
/// `aggregate`.
///
/// The type is a unit struct, or the stage's config if functions take `&self`. `lower` may take the key before the
/// accumulator. Each function may take `&Context`, and return a `Result`, whose `Err` fails the call.
///
/// ```
/// # use millstream_sdk::{Row, aggregate};
/// # #[derive(Row)] struct Price { price: f64 }
/// # #[derive(Row)] struct Sum { sum: f64, count: i64 }
/// # #[derive(Row)] struct Mean { mean: f64 }
/// struct MeanPrice;
///
/// /// Computes the mean price.
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
/// Turns a function into a plugin of world `cogroup`, which is called for each key with its rows from several inputs.
///
/// The function takes its key (a row; without it, the plugin accepts any key) and one `Rows<Row>` for each input, in the order of
/// the stage's inputs: `from` first, then those of `cogroup`. It may take `&mut Out<Row>` or `&mut KeyedOut<Row>` (which adds the
/// key columns before each row), `&Config` and `&Context`. Without an output it returns its rows: a row, an `Option`, a `Vec` or
/// `impl Iterator`. With a `Result` around any of these, `Err` rejects all rows of the key.
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
/// /// The spending and the clicks of each user.
/// #[cogroup]
/// fn summary(orders: Rows<Order>, clicks: Rows, out: &mut KeyedOut<Summary>) {
///     let clicks = clicks.len() as i64;
///     out.push(Summary { total: orders.map(|order| order.amount).sum(), clicks });
/// }
/// ```
pub use millstream_sdk_macros::cogroup;
/// Turns an `impl Sink for …` block into a plugin of world `sink`, which writes rows to an external system.
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
/// /// Logs alarms.
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
///                 true => refused.refuse(place, "the value is NaN"),
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
/// The doc comment becomes the plugin's description. `#[sink(config_schema = "…")]` sets the JSON Schema of its config.
pub use millstream_sdk_macros::sink;
/// Turns an `impl Source for …` block into a plugin of world `source`, which reads rows from an external system.
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
/// The doc comment becomes the plugin's description. `#[source(config_schema = "…")]` sets the JSON Schema of its config.
pub use millstream_sdk_macros::source;
/// Turns a function into a plugin of world `transform`: rows in, rows out.
///
/// The function takes a row. In any order it may also take `&mut Out<Row>` for output rows, `&Config` for the stage's config (any
/// type with serde's `Deserialize`) and `&Context` for batch ID and time. Without an `Out` it returns its rows: a row (map), an
/// `Option` (filter), a `Vec` or `impl Iterator` (flat map). With a `Result` around any of these, `Err` rejects the row: with a
/// string, any error, or a `Rejection`.
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
/// A row with a null in a field that is not an `Option` is rejected before the function sees it. The doc comment becomes the
/// plugin's description. `#[transform(config_schema = "…")]` sets the JSON Schema of its config. On `impl Transform for …`, the
/// macro only exports the plugin.
pub use millstream_sdk_macros::transform;
/// Turns a function into a plugin of world `update`, which is called for each key with its rows and its state.
///
/// The function takes, in any order and each only if needed: its key (a row; without it, the plugin accepts any key), `Rows<Row>`
/// (or `Rows` to count rows of any input), `Option<State>` (`None` for a new key), `&mut Out<Row>` or `&mut KeyedOut<Row>` (which
/// adds the key columns before each row), `&Config`, `&Context` and `&mut Timers` ([`Timers`]: calls for the key at a given time).
///
/// It returns the new state: `State`, or `Option<State>`, whose `None` removes the key. With a `Result` around these, `Err` rejects
/// all rows of the key and leaves its state unchanged.
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
/// A version can convert the states of earlier versions, which have other columns, with `From` or `TryFrom`:
/// `#[update(migrates_from = OldState)]`, or a list of types, `[First, Second]`. The columns of the old states select the type.
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
/// /// Counts the rows of each key, and the maximum in a batch.
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
