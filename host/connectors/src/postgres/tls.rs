//! TLS with a PostgreSQL server, by `sslmode` as defined by libpq.

use millstream_connect::tls::{Check, Tls, explain_error};
use millstream_job::database::{Mode, Ssl};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_rustls::client;

/// The TLS handshake with a server.
#[derive(Clone)]
pub struct Handshake {
    pub ssl: Ssl,
    tls: Tls,
    name: String,
}

impl Handshake {
    pub fn new(ssl: Ssl) -> Handshake {
        let check = match (ssl.mode, &ssl.ca) {
            (Mode::VerifyFull, _) => Check::Name,
            (Mode::VerifyCa, _) | (Mode::Require, Some(_)) => Check::CaOnly,
            _ => Check::Nothing,
        };
        let tls = Tls { check, ca: ssl.ca.clone(), own: ssl.own.clone() };
        Handshake { ssl, tls, name: String::new() }
    }

    /// Performs the handshake over a replication connection, if the server supports TLS.
    pub async fn begin(&self, stream: super::AnyStream) -> io::Result<super::AnyStream> {
        Ok(Box::new(self.clone().connect(stream).await?))
    }

    /// Returns the handshake with a server of this name.
    pub fn with(&self, name: String) -> Handshake {
        Handshake { name, ..self.clone() }
    }
}

impl<S> TlsConnect<S> for Handshake
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Encrypted<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            let stream = self.tls.handshake(stream, &self.name).await?;
            Ok(Encrypted { stream, name: self.name })
        })
    }
}

/// A TLS connection.
pub struct Encrypted<S> {
    stream: client::TlsStream<S>,
    name: String,
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Encrypted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // A server may reject the client certificate only now.
        Pin::new(&mut this.stream).poll_read(cx, buf).map_err(|error| explain_error(error, &this.name))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Encrypted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Encrypted<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}
