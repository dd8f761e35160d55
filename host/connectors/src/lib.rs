//! The ends of a batch's path: what brings rows in and what they are committed to.

// What users see has its documentation, in the crate `millstream`; these are its insides.
#![allow(missing_docs)]

pub mod postgres;
pub mod receiver;
pub mod sink;

use millstream_base::{
    batch, decode, digest, error, failure, fault, ids, job, limits, memory, owner, patience, private, regular, shown,
    threads, units,
};
