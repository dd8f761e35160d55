//! Sources that read messages of a server: who reads each kind, for [`polled`](super::polled).

mod mqtt;
mod redis;

use super::polled::MakeReader;
use crate::batch::reading::ReadPartition;
use crate::error::{Error, Result};
use crate::job::spec::{Origin, ServerReads, ServerSourceSpec, SourceSpec};
use std::sync::Arc;

/// Checks what can be checked before anything runs.
pub fn check(source: &SourceSpec, server: &ServerSourceSpec, origin: &Origin) -> Result<()> {
    reader(source, server, origin).map(drop)
}

/// What makes one who reads a partition, or asks for all.
pub fn readers(source: &SourceSpec, server: &ServerSourceSpec, origin: &Origin) -> MakeReader {
    let (source, server, origin) = (source.clone(), server.clone(), origin.clone());
    Arc::new(move || reader(&source, &server, &origin))
}

fn reader(source: &SourceSpec, server: &ServerSourceSpec, origin: &Origin) -> Result<Box<dyn ReadPartition>> {
    let made: Result<Box<dyn ReadPartition>, (&str, String)> = match &server.reads {
        ServerReads::Redis(reads) => redis::Redis::of(source, server, reads, origin).map(|it| Box::new(it) as _),
        ServerReads::Mqtt(reads) => mqtt::Mqtt::of(source, server, reads, origin).map(|it| Box::new(it) as _),
    };
    made.map_err(|(key, message)| {
        let location = origin.at(&format!("sources.{}.{key}", source.name));
        Error::job(format!("{location}source `{}`: {message}", source.name))
    })
}
