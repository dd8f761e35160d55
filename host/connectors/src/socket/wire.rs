//! A connection of a socket source, with or without TLS.

use millstream_connect::receiver::plain;
use millstream_connect::receiver::polled::BusyFlag;
use millstream_connect::tls::{Tls, explain_error, inner_tls_error};
use millstream_job::spec::SourceSpec;
use millstream_rows::inbox::Inbox;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

/// A server that does not respond in this time counts as unreachable.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// A connection.
pub enum Wire {
    /// TCP.
    Plain(TcpStream),
    /// TLS over TCP, with the server of this name.
    Tls(Box<TlsStream<TcpStream>>, String),
}

/// Connects to the server at `address`. The error is the reason.
pub async fn connect(source: &SourceSpec, address: &str, dir: &Path) -> Result<Wire, String> {
    let connecting = async {
        let stream = TcpStream::connect(address).await?;
        let Some(tls) = &source.tls else { return Ok(Wire::Plain(stream)) };
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = tls.name.as_deref().unwrap_or(host).to_owned();
        // The files are read for each connection: they may be renewed while the job runs.
        let stream = Tls::from_spec(tls, dir).handshake(stream, &name).await?;
        Ok(Wire::Tls(Box::new(stream), name))
    };
    match timeout(CONNECT_TIME_MAX, connecting).await {
        Ok(connected) => connected.map_err(|error| describe_error(&error)),
        Err(_) => Err(format!("no response in {} s", CONNECT_TIME_MAX.as_secs())),
    }
}

/// Describes an error of a connection.
pub fn describe_error(error: &io::Error) -> String {
    match inner_tls_error(error) {
        Some(tls_error) => format!("TLS: {tls_error}"),
        None if error.kind() == ErrorKind::UnexpectedEof => "the server closed the connection in the middle".into(),
        None => plain(error),
    }
}

impl Wire {
    /// Reads available data, or waits for some and is idle meanwhile. `Some(0)` is the end; `None`: call again.
    pub async fn read(
        &mut self,
        buffer: &mut Vec<u8>,
        busy: &mut BusyFlag,
        inbox: &Inbox,
    ) -> io::Result<Option<usize>> {
        match self {
            Wire::Plain(stream) => match stream.try_read_buf(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    busy.set(false, inbox);
                    let ready = stream.readable().await;
                    busy.set(true, inbox);
                    ready.map(|()| None)
                }
                read => read.map(Some),
            },
            Wire::Tls(stream, name) => {
                let mut reading = pin!(stream.read_buf(buffer));
                let immediate = std::future::poll_fn(|cx| match reading.as_mut().poll(cx) {
                    Poll::Ready(read) => Poll::Ready(Some(read)),
                    Poll::Pending => Poll::Ready(None),
                });
                let read = match immediate.await {
                    Some(read) => read,
                    None => {
                        busy.set(false, inbox);
                        let read = reading.await;
                        busy.set(true, inbox);
                        read
                    }
                };
                read.map(Some).map_err(|error| explain_error(error, name))
            }
        }
    }
}
