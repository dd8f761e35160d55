//! Sources that read messages of a server: who reads each kind, for [`polled`](super::polled).

mod changes;
mod redis;

use super::polled::MakeReader;
use crate::job::spec::{Origin, ServerReads, ServerSourceSpec, SourceSpec};
use crate::owner::Owner;
use std::sync::Arc;

/// Checks what can be checked before anything runs: the key that is wrong, and why.
pub fn check(source: &SourceSpec, server: &ServerSourceSpec, origin: &Origin) -> Result<(), (&'static str, String)> {
    match &server.reads {
        ServerReads::Redis(reads) => redis::Redis::of(source, server, reads, origin).map(drop),
        ServerReads::Changes(_) => changes::Changes::check(server),
    }
}

/// What makes one who reads a partition, or asks for all. `owner`: who the job is, where anything is kept of it.
pub fn readers(source: &SourceSpec, server: &ServerSourceSpec, origin: &Origin, owner: Option<&Owner>) -> MakeReader {
    let (source, server, origin) = (source.clone(), server.clone(), origin.clone());
    let owner = owner.cloned();
    Arc::new(move || match &server.reads {
        ServerReads::Redis(reads) => {
            let redis = redis::Redis::of(&source, &server, reads, &origin);
            Ok(Box::new(redis.map_err(|(key, message)| super::wrong(&source, &origin, key, message))?))
        }
        ServerReads::Changes(reads) => Ok(Box::new(changes::Changes::of(&source, &server, reads, owner.as_ref()))),
    })
}
