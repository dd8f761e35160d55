//! The bindings of each world, generated from `wit/` by `bindgen/`. One module per world, because a component exports exactly
//! one, and `migrate` for the additional export of world `update-migrating`. Types and imports are those of the first module, so
//! that all worlds share them.
#![allow(missing_docs, unsafe_op_in_unsafe_fn)]
#![allow(clippy::all, clippy::expect_used, clippy::undocumented_unsafe_blocks, clippy::unwrap_used)]

#[rustfmt::skip]
pub mod aggregate;
#[rustfmt::skip]
pub mod cogroup;
#[rustfmt::skip]
pub mod migrate;
#[rustfmt::skip]
pub mod sink;
#[rustfmt::skip]
pub mod source;
#[rustfmt::skip]
pub mod transform;
#[rustfmt::skip]
pub mod update;
