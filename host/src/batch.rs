//! Rows on their way: as received ([`chunk`]), decoded ([`decode`]), and in the graph ([`part`]); [`slices`] bounds them.

pub mod chunk;
pub mod decode;
pub mod group;
pub mod keys;
pub mod part;
pub mod rejected;
pub mod slices;
pub mod types;
pub mod widen;
