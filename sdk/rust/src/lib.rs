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
//! [`macro@Row`] makes a struct a row, [`macro@transform`], [`macro@update`] and [`macro@aggregate`] make a function
//! or an `impl` block a plugin of that world, [`testing`] runs it in a plain `cargo test`. Plugins that work on any
//! columns implement the trait of their world ([`Transform`], [`Update`], [`Aggregate`]) on whole batches.

// The macros name this crate; so do they within its own tests.
extern crate self as millstream_sdk;

pub mod aggregate;
pub mod batch;
#[doc(hidden)]
pub mod bindings;
mod cell;
pub mod counter;
mod error;
#[doc(hidden)]
pub mod export;
pub mod files;
pub mod log;
mod out;
#[doc(hidden)]
pub mod row;
mod schema;
mod stage;
pub mod testing;
pub mod text;
pub mod transform;
pub mod update;
#[doc(hidden)]
pub mod writer;

pub use aggregate::Aggregate;
pub use batch::Batch;
pub use cell::{Cell, Timestamp};
pub use error::{Error, Rejected, Rejection};
pub use millstream_sdk_macros::{Row, aggregate, transform, update};
pub use out::{Append, KeyedOut, Out};
pub use row::Row;
pub use schema::{Description, Field, Schema, Type};
pub use serde_json::json;
pub use stage::{Context, Stage};
pub use transform::Transform;
pub use update::{Rows, Update};

/// The README's examples, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
