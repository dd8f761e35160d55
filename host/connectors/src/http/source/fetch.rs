//! The `http` source with a `url`: polls a server or follows a stream. Lost connections are reopened. The position of the source is one from which
//! the server can continue.

mod client;
mod backoff;
mod cursor;
mod events;
mod last_bytes;
mod lines;
mod link;
mod compressed;
mod position;
mod poll;
mod rows;
mod websocket;

use super::settings::{ClientReads, HttpShape};
use backoff::Backoff;
use client::FetchClient;
use millstream_base::error::Error;
use millstream_base::units;
use millstream_connect::http1::Fault;
use millstream_job::spec::SourceSpec;
use millstream_rows::batch::position::Positions;
use millstream_rows::inbox::Inbox;
use rows::Rows;
use std::path::Path;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

/// Checks everything that can be checked without contacting the server. An error is the invalid key and the reason.
pub fn check(source: &SourceSpec, client: &ClientReads, dir: &Path) -> Result<(), (&'static str, String)> {
    FetchClient::new(source, client, dir).map(drop)
}

/// Why a connection or a round of polling ended.
enum RoundEnd {
    /// The inbox is closed.
    Closed,
    /// The server reports that there will never be more.
    Finished,
    /// The job fails.
    Failed(Error),
    /// The connection is reopened.
    Lost(ConnectionLoss),
    /// A response was received. The next request is sent immediately if `again`, otherwise when it is due.
    Responded { again: bool },
}

/// Why a connection is reopened.
struct ConnectionLoss {
    why: String,
    /// The pause that the server requested.
    after: Option<Duration>,
    /// Whether it is a normal end of a connection.
    expected: bool,
}

impl RoundEnd {
    fn unexpected_loss(why: impl Into<String>) -> RoundEnd {
        RoundEnd::Lost(ConnectionLoss { why: why.into(), after: None, expected: false })
    }

    fn expected_loss(why: impl Into<String>) -> RoundEnd {
        RoundEnd::Lost(ConnectionLoss { why: why.into(), after: None, expected: true })
    }
}

impl From<Fault> for RoundEnd {
    /// Permanent faults are retried as well: a certificate may be renewed, or the right program started.
    fn from(fault: Fault) -> RoundEnd {
        match fault {
            Fault::Transient(why) | Fault::Permanent(why) => RoundEnd::unexpected_loss(why),
        }
    }
}

/// State that all shapes of the source share.
struct Fetch<'a> {
    source: &'a SourceSpec,
    client: &'a ClientReads,
    fetcher: FetchClient,
    inbox: &'a Inbox,
    rows: Rows<'a>,
    /// The last error that was logged.
    last_error: Option<String>,
    backoff: Backoff,
    /// Pages requested since the last pause.
    pages: u32,
}

/// Reads until the inbox is closed.
pub async fn receive(source: &SourceSpec, client: &ClientReads, dir: &Path, from: &Positions, inbox: &Inbox) {
    let fetcher = match FetchClient::new(source, client, dir) {
        Ok(fetcher) => fetcher,
        Err((key, why)) => return inbox.fail(Error::job(format!("source `{}`: `{key}`: {why}", source.name))),
    };
    let rows = Rows::new(source, from, inbox);
    let mut fetch =
        Fetch { source, client, fetcher, inbox, rows, last_error: None, backoff: Backoff::default(), pages: 0 };
    loop {
        let ended = match &client.shape {
            HttpShape::Poll { cursor, rows, pages, .. } => {
                poll::poll(&mut fetch, &poll::PollRequest { cursor: cursor.as_ref(), rows, pages: *pages }).await
            }
            HttpShape::Lines => lines::follow(&mut fetch).await,
            HttpShape::Events => events::follow(&mut fetch).await,
            HttpShape::Websocket => websocket::follow(&mut fetch).await,
        };
        let pause = match ended {
            RoundEnd::Closed => return,
            RoundEnd::Finished => return inbox.finish(),
            RoundEnd::Failed(error) => return inbox.fail(error),
            RoundEnd::Responded { again } => match client.shape {
                HttpShape::Poll { every, .. } if !again => every,
                _ => Duration::ZERO,
            },
            RoundEnd::Lost(loss) => {
                fetch.log_loss(&loss);
                fetch.backoff.next(loss.after)
            }
        };
        if !pause.is_zero() {
            // A job that stops when all sources are idle need not wait for an unreachable server.
            inbox.idle(true);
            sleep(pause).await;
        }
    }
}

impl Fetch<'_> {
    /// Notes that the connection works, and logs it.
    fn report_connected(&mut self) {
        let (name, url) = (&self.source.name, self.fetcher.display_url());
        let logged = self.last_error.take();
        if matches!(self.client.shape, HttpShape::Poll { .. }) {
            self.backoff.reset();
        }
        match self.client.shape {
            HttpShape::Poll { .. } if logged.is_none() => {}
            HttpShape::Poll { .. } => info!("source `{name}`: {url} is reachable again"),
            _ => info!("source `{name}`: connected to {url}"),
        }
    }

    /// Logs the loss of a connection, each error once.
    fn log_loss(&mut self, loss: &ConnectionLoss) {
        let (name, url, why) = (&self.source.name, self.fetcher.display_url(), &loss.why);
        if loss.expected {
            return info!("source `{name}`: {url}: {why}; reconnecting");
        }
        if self.last_error.as_ref() != Some(why) {
            warn!("source `{name}`: {url}: {why}; retrying until it works");
            self.last_error = Some(why.clone());
        }
    }

    fn warn(&self, what: &str) {
        warn!("source `{}`: {}: {what}", self.source.name, self.fetcher.display_url());
    }

    /// Builds an error that fails the job; a restart may help.
    fn failed(&self, why: &str) -> RoundEnd {
        RoundEnd::Failed(Error::environment(format!(
            "source `{}`: {}: {why}",
            self.source.name,
            self.fetcher.display_url()
        )))
    }

    /// Waits for the next data of a stream, during which the source is idle. `None`: nothing arrived within `time`.
    async fn wait_within<T>(&self, time: Duration, data: impl Future<Output = T>) -> Option<T> {
        let mut data = pin!(data);
        let immediate = std::future::poll_fn(|cx| match data.as_mut().poll(cx) {
            Poll::Ready(received) => Poll::Ready(Some(received)),
            Poll::Pending => Poll::Ready(None),
        });
        if let Some(received) = immediate.await {
            return Some(received);
        }
        // Idle until rows arrive: keep-alive data does not count.
        self.inbox.idle(true);
        timeout(time, data).await.ok()
    }

    fn stalled(&self) -> RoundEnd {
        RoundEnd::unexpected_loss(format!("nothing came for {} (`stall`)", units::show_time(self.client.stall)))
    }
}
