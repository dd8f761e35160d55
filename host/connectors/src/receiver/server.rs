//! Sources that read messages of a server: who reads each kind, for [`polled`](super::polled).

mod kinesis;
mod redis;

use super::polled::MakeReader;
use crate::error::Error;
use crate::job::spec::{Origin, ServerReads, ServerSourceSpec, SourceSpec};
use std::sync::Arc;

/// Checks what can be checked before anything runs: the key that is wrong, and why.
pub fn check(source: &SourceSpec, server: &ServerSourceSpec, origin: &Origin) -> Result<(), (&'static str, String)> {
    match &server.reads {
        ServerReads::Redis(reads) => redis::Redis::of(source, server, reads, origin).map(drop),
        ServerReads::Kinesis(reads) => kinesis::stream(reads).map(drop).map_err(|(key, why)| (key, unusable(&why))),
    }
}

/// What makes one who reads a partition, or asks for all.
pub fn readers(source: &SourceSpec, server: &ServerSourceSpec, origin: &Origin) -> MakeReader {
    let (source, server, origin) = (source.clone(), server.clone(), origin.clone());
    if let ServerReads::Kinesis(reads) = &server.reads {
        // What one of them has read to its end the others must know.
        let stream =
            kinesis::stream(reads).map_err(|(key, message)| super::wrong(&source, &origin, key, unusable(&message)));
        let shared = stream.and_then(|stream| kinesis::Shared::new(&source, reads, stream)).map(Arc::new);
        return Arc::new(move || Ok(Box::new(kinesis::Kinesis::new(shared.as_ref().map_err(Clone::clone)?))));
    }
    Arc::new(move || match &server.reads {
        ServerReads::Redis(reads) => {
            let redis = redis::Redis::of(&source, &server, reads, &origin);
            Ok(Box::new(redis.map_err(|(key, message)| super::wrong(&source, &origin, key, message))?))
        }
        ServerReads::Kinesis(_) => Err(Error::bug(format!("source `{}` is read by another", source.name))),
    })
}

fn unusable(why: &str) -> String {
    format!("cannot be used: {why}")
}
