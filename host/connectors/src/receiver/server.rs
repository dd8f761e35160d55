//! Sources that read messages of a server: who reads each kind, for [`polled`](super::polled).

mod backlog;
#[cfg_attr(not(feature = "postgres"), path = "server/changes/absent.rs")]
mod changes;
mod flight;
mod kinesis;
mod mqtt;
mod nats;
mod rabbitmq;
mod redis;
mod zeromq;

pub use flight::Batches;

use super::polled::MakeReader;
use crate::kinesis::Stream;
use millstream_base::batch::reading::ReadPartition;
use millstream_base::error::{Error, Result};
use millstream_base::job::spec::{KinesisReads, Origin, ServerReads, ServerSourceSpec, SourceSpec};
use millstream_base::owner::Owner;
use std::sync::Arc;

/// Checks what can be checked before anything runs.
pub fn check(source: &SourceSpec, server: &ServerSourceSpec, origin: &Origin) -> Result<()> {
    match &server.reads {
        ServerReads::Kinesis(reads) => stream(source, reads, origin).map(drop),
        ServerReads::Flight(reads) => flight::check(server, reads, source, origin)
            .map_err(|(key, message)| super::wrong(source, origin, key, message)),
        ServerReads::Changes(_) => {
            changes::ChangesFollower::check(server).map_err(|(key, message)| super::wrong(source, origin, key, message))
        }
        _ => reader(source, server, origin).map(drop),
    }
}

/// What makes one who reads a partition, or asks for all. `owner`: who the job is, where anything is kept of it.
pub fn readers(source: &SourceSpec, server: &ServerSourceSpec, origin: &Origin, owner: Option<&Owner>) -> MakeReader {
    let (source, server, origin) = (source.clone(), server.clone(), origin.clone());
    if let ServerReads::Changes(reads) = &server.reads {
        let (reads, owner) = (reads.clone(), owner.cloned());
        return Arc::new(move || Ok(Box::new(changes::ChangesFollower::of(&source, &server, &reads, owner.as_ref()))));
    }
    if let ServerReads::Flight(reads) = &server.reads {
        // Who reads a part of a stream, and who asks which there are, know of each other.
        let shared = flight::Shared::of(&source, &server, reads, &origin)
            .map(Arc::new)
            .map_err(|(key, message)| super::wrong(&source, &origin, key, message));
        return Arc::new(move || Ok(Box::new(flight::Flight::new(shared.as_ref().map_err(Clone::clone)?))));
    }
    if let ServerReads::Kinesis(reads) = &server.reads {
        // What one of them has read to its end the others must know.
        let shared = stream(&source, reads, &origin)
            .and_then(|stream| kinesis::Shared::new(&source, reads, stream))
            .map(Arc::new);
        return Arc::new(move || Ok(Box::new(kinesis::Kinesis::new(shared.as_ref().map_err(Clone::clone)?))));
    }
    Arc::new(move || reader(&source, &server, &origin))
}

fn stream(source: &SourceSpec, reads: &KinesisReads, origin: &Origin) -> Result<Stream> {
    let stream = kinesis::stream(reads);
    stream.map_err(|(key, why)| super::wrong(source, origin, key, format!("cannot be used: {why}")))
}

fn reader(source: &SourceSpec, server: &ServerSourceSpec, origin: &Origin) -> Result<Box<dyn ReadPartition>> {
    let made: Result<Box<dyn ReadPartition>, (&str, String)> = match &server.reads {
        ServerReads::Redis(reads) => redis::Redis::of(source, server, reads, origin).map(|it| Box::new(it) as _),
        ServerReads::Changes(_) | ServerReads::Flight(_) | ServerReads::Kinesis(_) => {
            return Err(Error::bug(format!("source `{}` is read by another", source.name)));
        }
        ServerReads::Nats(reads) => nats::Nats::of(source, server, reads, origin).map(|it| Box::new(it) as _),
        ServerReads::Zeromq(reads) => zeromq::Zeromq::of(source, server, reads, origin).map(|it| Box::new(it) as _),
        ServerReads::Rabbitmq(reads) => {
            rabbitmq::Rabbitmq::of(source, server, reads, origin).map(|it| Box::new(it) as _)
        }
        ServerReads::Mqtt(reads) => mqtt::Mqtt::of(source, server, reads, origin).map(|it| Box::new(it) as _),
    };
    made.map_err(|(key, message)| {
        let location = origin.at(&format!("sources.{}.{key}", source.name));
        Error::job(format!("{location}source `{}`: {message}", source.name))
    })
}

/// A word of a position that is written in words; all of it where there is none.
fn word(position: &str, number: usize) -> &str {
    position.split(' ').nth(number).unwrap_or(position)
}
