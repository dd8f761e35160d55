//! The page of a running job: what `millstream run` and `millstream ui` serve to a browser, to Prometheus and to
//! programs.
//!
//! ```text
//! processes of the job -> (control socket, once a second) poll -> record -> routes -> client
//! ```
//!
//! It is separate from the job. If there is a supervisor, it serves the page, which continues when the job's processes
//! die, and shows that. Errors of the page are logged and do not affect the job.

mod access;
mod act;
mod assets;
mod body;
mod command;
pub mod diagnosis;
mod events;
mod last_event;
mod newest;
pub mod numbers;
mod parameters;
#[cfg_attr(not(feature = "top"), allow(dead_code))]
pub mod part;
mod poll;
mod prometheus;
mod query;
pub mod record;
mod routes;
mod server;
mod site;
#[cfg(test)]
mod tests;
mod unanswered;
pub mod view;

pub use poll::Jobs;

use access::Access;
use millstream_base::error::{Error, Result};
use millstream_base::private;
use millstream_connect::http1::certificate::Certificate;
use site::Site;
use std::fs::OpenOptions;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use unanswered::Unanswered;

/// The default address of the page: any free port, for this machine only.
pub const ADDRESS: &str = "127.0.0.1:0";
/// Minimum characters of a token chosen by the user.
const TOKEN_CHARS_MIN: usize = 16;
const TOKEN_BYTES_MAX: u64 = 4096;

/// How a page is served.
#[derive(Clone, Debug, Default)]
pub struct PageOptions {
    /// `host:port`. `None` means [`ADDRESS`].
    pub address: Option<String>,
    /// A file with the token. `None` creates one.
    pub token_file: Option<PathBuf>,
    /// Files with a certificate and its key (PEM), for TLS.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Whether the page can stop jobs, retry rows and upgrade plugins.
    pub actions: bool,
}

/// A page that is served until the process exits. Dropping it waits until action requests are answered.
pub struct Page {
    /// The address for a browser, with the token if it was created here.
    pub address: String,
    unanswered: Unanswered,
}

impl Drop for Page {
    fn drop(&mut self) {
        self.unanswered.wait();
    }
}

/// Serves a page about these jobs.
pub fn serve(options: &PageOptions, jobs: Arc<Jobs>) -> Result<Page> {
    let wanted = options.address.as_deref().unwrap_or(ADDRESS);
    let token = options.token_file.as_deref().map(read_token).transpose()?;
    let certificate = options.certificate.clone().map(|(cert, key)| Certificate::new(cert, key));
    if let Some(certificate) = &certificate {
        let unusable = |why| Error::job(format!("the page cannot use TLS (--ui-cert, --ui-key): {why}"));
        certificate.check().map_err(unusable)?;
    }
    let (listener, bound) = listen(wanted, token.is_some() || certificate.is_some())?;
    let made = token.is_none();
    let token = match token {
        Some(token) => token,
        None => millstream_base::hex::encode(&private::random().map_err(Error::environment)?[..16]),
    };
    let host = wanted.rsplit_once(':').map_or(wanted, |(host, _)| host);
    let scheme = if certificate.is_some() { "https" } else { "http" };
    let access = Access::new(token.clone(), host, bound, certificate.is_some());
    let shown = match bound.ip().is_unspecified() {
        true => format!("{host}:{}", bound.port()),
        false => bound.to_string(),
    };
    let address = match made {
        true => format!("{scheme}://{shown}/?token={token}"),
        false => format!("{scheme}://{shown}/ (the token is in the file of --ui-token-file)"),
    };
    let unanswered = Unanswered::default();
    if options.actions {
        jobs.allow_actions();
    }
    jobs.poll()?;
    let site = Site { access, jobs, actions: options.actions, unanswered: unanswered.clone() };
    server::start(listener, certificate, site)?;
    Ok(Page { address, unanswered })
}

/// Listens on an address. Other machines may only connect with TLS, or if the user chose a token for them.
fn listen(wanted: &str, for_others: bool) -> Result<(TcpListener, SocketAddr)> {
    let failed = |why: String| Error::job(format!("the page cannot be served at {wanted} (--ui): {why}"));
    let addresses = wanted.to_socket_addrs();
    let addresses: Vec<SocketAddr> =
        addresses.map_err(|error| failed(format!("{error}; write it as 127.0.0.1:8080")))?.collect();
    if let Some(open) = addresses.iter().find(|address| !address.ip().is_loopback() && !for_others) {
        return Err(failed(format!(
            "other machines can reach {}, and the connection is not encrypted; set a certificate (--ui-cert FILE --ui-key FILE), \
             listen on 127.0.0.1 behind a TLS proxy, or use a tunnel (ssh -L); in a trusted network, a token is enough: \
             --ui-token-file FILE",
            open.ip()
        )));
    }
    let listener = TcpListener::bind(addresses.as_slice()).map_err(|error| failed(error.to_string()))?;
    let bound = listener.local_addr().map_err(|error| failed(error.to_string()))?;
    listener.set_nonblocking(true).map_err(|error| failed(error.to_string()))?;
    Ok((listener, bound))
}

/// Reads the token from a file that only this user may access.
fn read_token(file: &Path) -> Result<String> {
    let failed = |why: String| Error::job(format!("--ui-token-file {}: {why}", file.display()));
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(file);
    let opened = opened.map_err(|error| failed(error.to_string()))?;
    let found = opened.metadata().map_err(|error| failed(error.to_string()))?;
    if !found.is_file() || ![0, private::user()].contains(&found.uid()) || found.mode() & 0o077 != 0 {
        return Err(failed("it must be a file that only you can access; run chmod 600".into()));
    }
    let mut text = String::new();
    opened.take(TOKEN_BYTES_MAX).read_to_string(&mut text).map_err(|error| failed(error.to_string()))?;
    let token = text.trim().to_owned();
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.~".contains(c);
    if token.len() < TOKEN_CHARS_MIN || !token.chars().all(good) {
        let why = format!(
            "the token must have {TOKEN_CHARS_MIN} or more characters (letters, digits and -_.~); `openssl rand -hex 16` creates one"
        );
        return Err(failed(why));
    }
    Ok(token)
}
