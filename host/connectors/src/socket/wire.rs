//! A connection of a socket source, plain or with TLS.

use crate::receiver::plain;
use crate::receiver::polled::BusyFlag;
use crate::tls::{Tls, in_words, refusal};
use millstream_base::inbox::Inbox;
use millstream_base::job::spec::SourceSpec;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

/// A server that does not answer counts as unreachable.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// A connection.
pub enum Wire {
    /// TCP.
    Plain(TcpStream),
    /// TLS over TCP, with the server of this name.
    Tls(Box<TlsStream<TcpStream>>, String),
}

/// Connects with the server at `address`; or why not.
pub async fn connect(source: &SourceSpec, address: &str, folder: &Path) -> Result<Wire, String> {
    let connecting = async {
        let stream = TcpStream::connect(address).await?;
        let Some(tls) = &source.tls else { return Ok(Wire::Plain(stream)) };
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = tls.name.as_deref().unwrap_or(host).to_owned();
        // The files are read each time: they may be renewed while the job runs.
        let stream = Tls::of(tls, folder).handshake(stream, &name).await?;
        Ok(Wire::Tls(Box::new(stream), name))
    };
    match timeout(CONNECT_TIME_MAX, connecting).await {
        Ok(connected) => connected.map_err(|error| told(&error)),
        Err(_) => Err(format!("no response in {} s", CONNECT_TIME_MAX.as_secs())),
    }
}

/// What an error of a connection means.
pub fn told(error: &io::Error) -> String {
    match refusal(error) {
        Some(refusal) => format!("TLS: {refusal}"),
        None if error.kind() == ErrorKind::UnexpectedEof => "the server closed it in the middle".into(),
        None => plain(error),
    }
}

impl Wire {
    /// Reads what is there, or waits until something is, and is not busy meanwhile. `Some(0)`: the end. `None`: look again.
    pub async fn read(
        &mut self,
        buffer: &mut Vec<u8>,
        busy: &mut BusyFlag,
        inbox: &Inbox,
    ) -> io::Result<Option<usize>> {
        match self {
            Wire::Plain(stream) => match stream.try_read_buf(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    busy.is(false, inbox);
                    let ready = stream.readable().await;
                    busy.is(true, inbox);
                    ready.map(|()| None)
                }
                read => read.map(Some),
            },
            Wire::Tls(stream, name) => {
                let mut reading = pin!(stream.read_buf(buffer));
                let at_once = std::future::poll_fn(|cx| match reading.as_mut().poll(cx) {
                    Poll::Ready(read) => Poll::Ready(Some(read)),
                    Poll::Pending => Poll::Ready(None),
                });
                let read = match at_once.await {
                    Some(read) => read,
                    None => {
                        busy.is(false, inbox);
                        let read = reading.await;
                        busy.is(true, inbox);
                        read
                    }
                };
                read.map(Some).map_err(|error| in_words(error, name))
            }
        }
    }
}
