//! Source `http` with a `url`: it asks a server again and again, or follows a stream that it sends. Connections that end are
//! made anew; what a source has come to is a position where the server can go on from there.

mod client;
mod backoff;
mod cursor;
mod events;
mod last_bytes;
mod lines;
mod link;
mod packed;
mod position;
mod poll;
mod rows;
mod websocket;

use super::settings::{ClientReads, HttpShape};
use crate::http::Fault;
use backoff::Backoff;
use client::FetchClient;
use millstream_base::batch::position::Positions;
use millstream_base::error::Error;
use millstream_base::inbox::Inbox;
use millstream_base::job::spec::SourceSpec;
use millstream_base::units;
use rows::Rows;
use std::path::Path;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

/// Checks what can be checked without asking the server: the key that is wrong, and why.
pub fn check(source: &SourceSpec, client: &ClientReads, folder: &Path) -> Result<(), (&'static str, String)> {
    FetchClient::of(source, client, folder).map(drop)
}

/// Why a connection, or a round of a poll, is over.
enum RoundEnd {
    /// The job wants no more.
    Inbox,
    /// The server says that there is nothing more, for good.
    Finished,
    /// The job stops.
    Failed(Error),
    /// The connection is made anew.
    Lost(Loss),
    /// An answer was taken in; the next request goes out at once, or when it is time.
    Answered { again: bool },
}

/// Why a connection is made anew.
struct Loss {
    why: String,
    /// The server said how long to wait.
    after: Option<Duration>,
    /// It ended as connections do.
    usual: bool,
}

impl RoundEnd {
    fn lost(why: impl Into<String>) -> RoundEnd {
        RoundEnd::Lost(Loss { why: why.into(), after: None, usual: false })
    }

    fn closed(why: impl Into<String>) -> RoundEnd {
        RoundEnd::Lost(Loss { why: why.into(), after: None, usual: true })
    }
}

impl From<Fault> for RoundEnd {
    /// What a server is may change: somebody renews a certificate, or starts the right program.
    fn from(fault: Fault) -> RoundEnd {
        match fault {
            Fault::Passing(why) | Fault::Lasting(why) => RoundEnd::lost(why),
        }
    }
}

/// What all shapes of such a source need.
struct Fetch<'a> {
    source: &'a SourceSpec,
    client: &'a ClientReads,
    asker: FetchClient,
    inbox: &'a Inbox,
    rows: Rows<'a>,
    /// What was told of the connection last.
    trouble: Option<String>,
    backoff: Backoff,
    /// Pages that were asked for since the last rest.
    pages: u32,
}

/// Reads until the inbox is closed.
pub async fn receive(source: &SourceSpec, client: &ClientReads, folder: &Path, from: &Positions, inbox: &Inbox) {
    let asker = match FetchClient::of(source, client, folder) {
        Ok(asker) => asker,
        Err((key, why)) => return inbox.fail(Error::job(format!("source `{}`: `{key}`: {why}", source.name))),
    };
    let rows = Rows::new(source, from, inbox);
    let mut fetch = Fetch { source, client, asker, inbox, rows, trouble: None, backoff: Backoff::default(), pages: 0 };
    loop {
        let ended = match &client.shape {
            HttpShape::Poll { cursor, rows, pages, .. } => {
                poll::ask(&mut fetch, &poll::PollRequest { cursor: cursor.as_ref(), rows, pages: *pages }).await
            }
            HttpShape::Lines => lines::follow(&mut fetch).await,
            HttpShape::Events => events::follow(&mut fetch).await,
            HttpShape::Websocket => websocket::follow(&mut fetch).await,
        };
        let pause = match ended {
            RoundEnd::Inbox => return,
            RoundEnd::Finished => return inbox.finish(),
            RoundEnd::Failed(error) => return inbox.fail(error),
            RoundEnd::Answered { again } => match client.shape {
                HttpShape::Poll { every, .. } if !again => every,
                _ => Duration::ZERO,
            },
            RoundEnd::Lost(loss) => {
                fetch.tell(&loss);
                fetch.backoff.next(loss.after)
            }
        };
        if !pause.is_zero() {
            // Who is to stop when all is quiet need not wait for a server that has gone.
            inbox.idle(true);
            sleep(pause).await;
        }
    }
}

impl Fetch<'_> {
    /// A connection is there, and what comes over it is what is wanted.
    fn connected(&mut self) {
        let (name, place) = (&self.source.name, self.asker.place());
        let told = self.trouble.take();
        if matches!(self.client.shape, HttpShape::Poll { .. }) {
            self.backoff.reset();
        }
        match self.client.shape {
            HttpShape::Poll { .. } if told.is_none() => {}
            HttpShape::Poll { .. } => info!("source `{name}`: {place} is reachable again"),
            _ => info!("source `{name}`: connected to {place}"),
        }
    }

    /// Each trouble is told once, however often it comes.
    fn tell(&mut self, loss: &Loss) {
        let (name, place, why) = (&self.source.name, self.asker.place(), &loss.why);
        if loss.usual {
            return info!("source `{name}`: {place}: {why}; connecting again");
        }
        if self.trouble.as_ref() != Some(why) {
            warn!("source `{name}`: {place}: {why}; retrying until it works");
            self.trouble = Some(why.clone());
        }
    }

    fn warn(&self, what: &str) {
        warn!("source `{}`: {}: {what}", self.source.name, self.asker.place());
    }

    /// An error that ends the job; starting it again may mend it.
    fn failed(&self, why: &str) -> RoundEnd {
        RoundEnd::Failed(Error::environment(format!("source `{}`: {}: {why}", self.source.name, self.asker.place())))
    }

    /// Waits for what a stream brings; the source is idle meanwhile. `None`: it was silent for this long.
    async fn within<T>(&self, time: Duration, coming: impl Future<Output = T>) -> Option<T> {
        let mut coming = pin!(coming);
        let at_once = std::future::poll_fn(|cx| match coming.as_mut().poll(cx) {
            Poll::Ready(came) => Poll::Ready(Some(came)),
            Poll::Pending => Poll::Ready(None),
        });
        if let Some(came) = at_once.await {
            return Some(came);
        }
        // Until rows come: what keeps a connection alive is nothing to read.
        self.inbox.idle(true);
        timeout(time, coming).await.ok()
    }

    fn stalled(&self) -> RoundEnd {
        RoundEnd::lost(format!("nothing came for {} (`stall`)", units::show_time(self.client.stall)))
    }
}
