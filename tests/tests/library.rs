//! Millstream as a library, and its parts: tests that call the host in their own process.

mod circles;
mod damage;
mod embedding;
mod interface;
mod layers;
mod loading;
mod lock;
mod model;
mod registry;
mod s3;
mod schema;
mod tracked;
