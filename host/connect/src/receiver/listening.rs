//! Sources that clients connect to, if all processes of a job listen (`spread`). Each process counts its rows as its own partition. The client or a
//! load balancer chooses the process, so a row's partition does not follow from its name. Instead, each process picks a partition name that is
//! assigned to it.

use super::{fail_on_panic, receiver_name, wrong};
use crate::http1::certificate::Certificate;
use crate::http1::listener::{bind, cannot_listen};
use millstream_base::error::{Error, Result};
use millstream_base::fault;
use millstream_base::limits;
use millstream_job::keys::{KeyShape, TableKey, key};
use millstream_job::spec::{Origin, SourceSpec, SourceStart};
use millstream_rows::batch::chunk::Chunk;
use millstream_rows::batch::partition::{Share, listener_name};
use millstream_rows::batch::position::Positions;
use millstream_rows::inbox::Inbox;
use std::future::Future;
use tokio::net::TcpListener;
use tokio::task::JoinError;

/// The key that makes all processes of a job listen.
pub const SPREAD: TableKey = key(
    "spread",
    KeyShape::Flag,
    "Listen in all processes of the job, each for some of the senders. If false, one process listens. false by default.",
);
/// The key that limits the number of connections.
pub const CONNECTIONS_MAX: TableKey = key(
    "connections_max",
    KeyShape::Integer(1, limits::HTTP_CONNECTIONS_MAX_MAX),
    "Maximum open connections, 1000 by default; more wait.",
);

/// How a process listens for a source.
#[derive(Clone, Debug)]
pub struct Listening {
    /// Whether other processes of the job may listen at the same address of this machine.
    pub shared: bool,
    /// Share of the partitions that this process owns.
    share: Share,
    /// Name of the partition; empty if one process has the source.
    partition: String,
}

impl Listening {
    /// Returns how a source listens, with one process or all processes of its job.
    pub fn new(start: &SourceStart<'_>, spread: bool) -> Listening {
        let (share, processes) = (start.share, start.job.processes);
        let partition = if spread { listener_name(share) } else { String::new() };
        Listening { shared: spread && processes > 1, share, partition }
    }

    /// Returns how many rows this partition had in earlier runs.
    pub fn rows_before(&self, from: &Positions) -> u64 {
        from.get(&self.partition).map_or(0, |position| position.offset)
    }

    /// Assigns rows to this process's partition and shifts their numbers, which start at 0, by `first`.
    pub fn number(&self, chunks: &mut [Chunk], first: u64) {
        for chunk in chunks {
            chunk.extent.row = chunk.extent.row.saturating_add(first);
            chunk.extent.file.clone_from(&self.partition);
        }
    }

    /// Returns whether this process keeps the state under this name.
    pub fn owns(&self, name: &str) -> bool {
        self.share.owns(name)
    }
}

/// Handles the end of a connection's task. A panic in it fails the source.
pub fn connection_ended(source: &SourceSpec, inbox: &Inbox, ended: std::result::Result<(), JoinError>) {
    fail_on_panic(inbox, &format!("a connection of source `{}`", source.name), ended);
}

/// Listens at the address of a source.
///
/// # Errors
/// `Job` if it cannot listen at the address; the message has the reason and what to do.
pub fn bind_listener(start: &SourceStart<'_>, address: &str, listening: &Listening) -> Result<TcpListener> {
    let bound = start.runtime.block_on(bind(address, listening.shared));
    bound.map_err(|error| Error::job(cannot_listen(&format!("source `{}`", start.source.name), address, &error)))
}

/// Checks that the certificate that clients see is usable.
pub fn check_certificate(source: &SourceSpec, origin: &Origin) -> Result<()> {
    let certificate = source.tls.as_ref().and_then(|tls| Certificate::from_spec(tls, &origin.dir));
    let usable = certificate.map_or(Ok(()), |certificate| certificate.check());
    usable.map_err(|error| wrong(source, origin, "tls", format!("cannot be used: {error}")))
}

/// Runs a listening receiver until its inbox is closed and all requests have a response. It lives as long as this runtime. A panic in it fails the
/// source.
pub fn run_until_answered(start: &SourceStart<'_>, listen: impl Future<Output = ()> + Send + 'static) {
    let (inbox, runtime, name) = (start.inbox.clone(), start.runtime, receiver_name(start.source));
    let receiving = runtime.spawn(async move {
        fault::thread("receiver");
        listen.await;
    });
    runtime.spawn(async move { fail_on_panic(&inbox, &name, receiving.await) });
}
