//! Sources that others connect to, where all processes of a job listen (`spread`): each counts what comes to it as a partition of its
//! own. Whoever sends chooses a process, or what stands before them does, so no name can say whose a row is, and it is the other way
//! round: a process names its partition so that the name falls to it.

use super::{fail_on_panic, receiver_name, wrong};
use crate::http::certificate::Certificate;
use crate::http::listener::{bind, cannot_listen};
use millstream_base::batch::chunk::Chunk;
use millstream_base::batch::partition::{Share, listener_name};
use millstream_base::batch::position::Positions;
use millstream_base::error::{Error, Result};
use millstream_base::fault;
use millstream_base::inbox::Inbox;
use millstream_base::job::keys::{KeyShape, TableKey, key};
use millstream_base::job::spec::{Origin, SourceSpec, SourceStart};
use millstream_base::limits;
use std::future::Future;
use tokio::net::TcpListener;
use tokio::task::JoinError;

/// The key by which all processes of a job listen.
pub const SPREAD: TableKey = key(
    "spread",
    KeyShape::Flag,
    "Listen in all processes of the job, each for some of the senders. If false, one process listens. false by default.",
);
/// The key that bounds connections.
pub const CONNECTIONS_MAX: TableKey = key(
    "connections_max",
    KeyShape::Whole(1, limits::HTTP_CONNECTIONS_MAX_MAX),
    "Maximum open connections, 1000 by default; more wait.",
);

/// How a process listens for a source.
#[derive(Clone, Debug)]
pub struct Listening {
    /// Whether other processes of the job may listen at the same address of this machine.
    pub shared: bool,
    /// Whose rows come here.
    share: Share,
    /// The name of the partition; empty where one process has the source.
    partition: String,
}

impl Listening {
    /// Of a source that one process has, or all of its job.
    pub fn of(start: &SourceStart<'_>, spread: bool) -> Listening {
        let (share, processes) = (start.share, start.job.processes);
        let partition = if spread { listener_name(share) } else { String::new() };
        Listening { shared: spread && processes > 1, share, partition }
    }

    /// How many rows came here in earlier starts.
    pub fn rows_before(&self, from: &Positions) -> u64 {
        from.get(&self.partition).map_or(0, |position| position.offset)
    }

    /// Puts rows into this process's partition, and counts their numbers, which begin with none, from this one on.
    pub fn number(&self, chunks: &mut [Chunk], first: u64) {
        for chunk in chunks {
            chunk.extent.row = chunk.extent.row.saturating_add(first);
            chunk.extent.file.clone_from(&self.partition);
        }
    }

    /// Whether what is remembered under this name is remembered here.
    pub fn owns(&self, name: &str) -> bool {
        self.share.owns(name)
    }
}

/// A task that served a connection has ended. A panic in it fails the source.
pub fn connection_ended(source: &SourceSpec, inbox: &Inbox, ended: std::result::Result<(), JoinError>) {
    fail_on_panic(inbox, &format!("a connection of source `{}`", source.name), ended);
}

/// Listens at the address of a source.
///
/// # Errors
/// `Job`: the address cannot be listened at; the message says why and what to do.
pub fn bound(start: &SourceStart<'_>, address: &str, listening: &Listening) -> Result<TcpListener> {
    let bound = start.runtime.block_on(bind(address, listening.shared));
    bound.map_err(|error| Error::job(cannot_listen(&format!("source `{}`", start.source.name), address, &error)))
}

/// Whether the certificate can be used that those see who connect.
pub fn check_certificate(source: &SourceSpec, origin: &Origin) -> Result<()> {
    let certificate = source.tls.as_ref().and_then(|tls| Certificate::of(tls, &origin.folder));
    let usable = certificate.map_or(Ok(()), |certificate| certificate.check());
    usable.map_err(|error| wrong(source, origin, "tls", format!("cannot be used: {error}")))
}

/// Runs a receiver that listens until its inbox is closed, and then answers what came; it lives as long as this runtime. A panic in it
/// fails the source.
pub fn until_answered(start: &SourceStart<'_>, listen: impl Future<Output = ()> + Send + 'static) {
    let (inbox, runtime, name) = (start.inbox.clone(), start.runtime, receiver_name(start.source));
    let receiving = runtime.spawn(async move {
        fault::thread("receiver");
        listen.await;
    });
    runtime.spawn(async move { fail_on_panic(&inbox, &name, receiving.await) });
}
