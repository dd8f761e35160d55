//! The parts of a stream and their servers, shared by all readers.

use super::position::FlightPosition;
use crate::flight::limits::{ENDPOINTS_AT_ONCE, ENDPOINTS_MAX};
use crate::flight::messages::{Endpoint, Info};
use crate::flight::settings::FlightReads;
use crate::flight::{self, CallRefusal, Fault, RESPONSE_BYTES_MAX, Server};
use glob::Pattern;
use millstream_base::error::Error;
use millstream_base::shown;
use millstream_job::spec::{Origin, SourceSpec};
use millstream_rows::batch::reading::ReadError;
use prost::Message as _;
use std::collections::BTreeSet;
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::time::timeout;

/// The location of a part that the responding server itself has.
const HERE: &str = "arrow-flight-reuse-connection:";

/// A server's response about a stream.
#[derive(Default)]
pub struct Parts {
    /// The endpoints, in the order of their numbers.
    pub endpoints: Vec<Endpoint>,
}

/// The shared state of a source's readers.
pub struct Shared {
    pub source: SourceSpec,
    pub reads: FlightReads,
    /// The server that is queried for the stream.
    pub server: Server,
    dir: PathBuf,
    locations: Vec<Pattern>,
    /// Connections progress between polls. The runtime of the job ends before its threads do.
    runtime: Option<Runtime>,
    handle: Handle,
    known: Mutex<KnownParts>,
}

#[derive(Default)]
struct KnownParts {
    parts: Option<Arc<Parts>>,
    /// How many parts the stream had for earlier runs.
    count: Option<usize>,
    ended: BTreeSet<usize>,
}

impl Shared {
    /// Creates the state of a source; or returns the invalid key, and why.
    pub fn new(source: &SourceSpec, reads: &FlightReads, origin: &Origin) -> Result<Shared, (&'static str, String)> {
        let locations = patterns(reads)?;
        let server = Server::new(&reads.url, reads.token.as_deref(), source.tls.as_ref(), &origin.dir)?;
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("flight").enable_all().build();
        let runtime =
            runtime.map_err(|error| ("url", format!("cannot be read: a runtime cannot be started: {error}")))?;
        Ok(Shared {
            source: source.clone(),
            reads: reads.clone(),
            server,
            dir: origin.dir.clone(),
            locations,
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
            known: Mutex::default(),
        })
    }

    /// Blocks on a future, on a thread that may block.
    pub fn block_on<F: Future>(&self, work: F) -> F::Output {
        self.handle.block_on(work)
    }

    fn lock_parts(&self) -> MutexGuard<'_, KnownParts> {
        // No code under the lock can leave the state inconsistent.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what earlier runs have read.
    pub fn add_read(&self, positions: impl Iterator<Item = (usize, FlightPosition)>) {
        let mut known = self.lock_parts();
        for (number, at) in positions {
            known.count = Some(at.parts);
            if at.ended {
                known.ended.insert(number);
            }
        }
    }

    /// Records that a part was read to its end.
    pub fn ended(&self, number: usize) {
        self.lock_parts().ended.insert(number);
    }

    /// Returns the parts to read now: others follow when these have ended. There is always one, whose end is that of the source.
    pub fn names(&self) -> Result<Vec<String>, ReadError> {
        let last = |count: usize| vec![count.saturating_sub(1).to_string()];
        {
            let known = self.lock_parts();
            if let Some(count) = known.count.filter(|count| known.ended.len() >= (*count).max(1)) {
                return Ok(last(count));
            }
        }
        let (parts, _) = self.parts()?;
        let count = parts.endpoints.len();
        let mut known = self.lock_parts();
        if let Some(before) = known.count.replace(count).filter(|before| *before != count) {
            known.count = Some(before);
            return Err(self.permanent(&self.server, &other_rows(&format!("{count} parts, previously {before}"))));
        }
        let open = (0..count).filter(|number| !known.ended.contains(number)).take(ENDPOINTS_AT_ONCE);
        let names: Vec<String> = open.map(|number| number.to_string()).collect();
        Ok(if names.is_empty() { last(count) } else { names })
    }

    /// Returns the parts of the stream, and whether they were queried just now.
    pub fn parts(&self) -> Result<(Arc<Parts>, bool), ReadError> {
        let mut known = self.lock_parts();
        if let Some(parts) = &known.parts {
            return Ok((parts.clone(), false));
        }
        let result = self.block_on(async {
            let mut connection = self.server.connect().await?;
            let mut responses =
                connection.call_once("GetFlightInfo", &flight::descriptor(&self.reads.requested), RESPONSE_BYTES_MAX);
            let response = async {
                let info = responses.next().await?;
                while info.is_some() && responses.next().await?.is_some() {}
                Ok(info)
            };
            let stall = self.reads.stall;
            let parts_result: Result<_, CallRefusal> =
                timeout(stall, response).await.unwrap_or_else(|_| Err(flight::stalled(stall).into()));
            parts_result.map_err(|failure| failure.fault)
        });
        let info = result.map_err(|fault| self.read_error(&self.server, fault))?;
        let info = Info::decode(info.unwrap_or_default());
        let info =
            info.map_err(|error| self.permanent(&self.server, &format!("it sent an invalid message: {error}")))?;
        let count = info.endpoints.len();
        if count > ENDPOINTS_MAX {
            return Err(self.permanent(
                &self.server,
                &format!("the stream has {count} parts, and a source reads at most {ENDPOINTS_MAX}; configure the server to return fewer"),
            ));
        }
        let parts = Arc::new(Parts { endpoints: info.endpoints });
        Ok((known.parts.insert(parts).clone(), true))
    }

    /// Drops these parts, so that the server is queried again, unless it already was.
    pub fn invalidate(&self, parts: &Arc<Parts>) {
        let mut known = self.lock_parts();
        if known.parts.as_ref().is_some_and(|now| Arc::ptr_eq(now, parts)) {
            known.parts = None;
        }
    }

    /// Returns the servers that have a part, in the server's order. Each is the source's own server or an allowed location, as it receives
    /// the job's credentials.
    pub fn holders(&self, endpoint: &Endpoint) -> Result<Vec<Server>, String> {
        let mut holders = Vec::new();
        let (own, safe) = (url(&self.server), self.server.address.tls.is_some());
        // A location is checked before anything is derived from it.
        let may_go = |url: &String| {
            let is_named = *url == own || self.locations.iter().any(|pattern| pattern.matches(url));
            is_named && (!safe || url.starts_with("grpc+tls://"))
        };
        for location in endpoint.locations.iter().take(LOCATIONS_MAX) {
            if location.uri.starts_with(HERE) {
                holders.push(self.server.clone());
                continue;
            }
            let other = flight::plain_url(&location.uri).filter(may_go);
            let other = other.and_then(|url| self.server.other_server(&url, self.source.tls.as_ref(), &self.dir));
            holders.extend(other);
        }
        if let (true, Some(location)) = (holders.is_empty(), endpoint.locations.first()) {
            let shown = shown::harmless(&location.uri, 200);
            return Err(format!(
                "its rows are at `{shown}`, but the job does not connect there{}",
                match flight::plain_url(&location.uri) {
                    Some(url) if safe && url.starts_with("grpc://") =>
                        ", because `url` uses TLS and that server does not".to_owned(),
                    _ => format!("; write locations = \"{shown}\" if that server may receive the job's credentials"),
                }
            ));
        }
        if holders.is_empty() {
            holders.push(self.server.clone());
        }
        Ok(holders)
    }

    /// Interprets an error at a server.
    pub fn read_error(&self, server: &Server, fault: Fault) -> ReadError {
        match fault {
            Fault::Transient(why) => ReadError::Transient(format!("{}: {why}", server.address.shown())),
            Fault::Permanent(why) => self.permanent(server, &why),
        }
    }

    fn permanent(&self, server: &Server, why: &str) -> ReadError {
        let (source, address, stream) =
            (&self.source.name, server.address.shown(), flight::shown(&self.reads.requested));
        ReadError::Permanent(Error::job(format!("source `{source}`: {address}: stream {stream}: {why}")))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Maximum number of locations of a part that are considered.
const LOCATIONS_MAX: usize = 100;

/// Returns the patterns of allowed locations; or the invalid key, and why.
pub fn patterns(reads: &FlightReads) -> Result<Vec<Pattern>, (&'static str, String)> {
    let pattern = |location: &String| {
        // Brackets enclose an IPv6 address, not a character class.
        Pattern::new(&location.replace('[', "[[]"))
            .map_err(|error| ("locations", format!("`{location}` is not a valid pattern: {error}")))
    };
    reads.locations.iter().map(pattern).collect()
}

/// Returns the URL of a server, as `locations` would contain it.
fn url(server: &Server) -> String {
    let address = &server.address;
    let host = if address.host.contains(':') { format!("[{}]", address.host) } else { address.host.clone() };
    format!("grpc{}://{host}:{}", if address.tls.is_some() { "+tls" } else { "" }, address.port)
}

/// Returns what to do about a server that does not return the same rows.
pub fn other_rows(what: &str) -> String {
    format!(
        "it returns other rows than before: {what}. The job resumes after a number of rows, so the server must \
         return the same rows in the same order; restore that, or start from scratch with --fresh"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flight::messages::Location;
    use crate::flight::settings::FlightDescriptor;
    use millstream_job::spec::SourceKind;
    use millstream_rows::formats::Format;

    #[test]
    fn the_job_goes_only_where_it_may() {
        let requested = FlightDescriptor::Path(vec!["a".into()]);
        let mut reads = FlightReads::new("grpc://me:secret@localhost:1", requested);
        reads.locations = vec!["grpc://worker-*.example.org:8815".into()];
        let source = SourceSpec::new("in", SourceKind::Declared(Arc::new(reads.clone())), Format::Json);
        let shared = Shared::new(&source, &reads, &Origin::default()).unwrap();
        let at = |uris: &[&str]| {
            let locations = uris.iter().map(|uri| Location { uri: (*uri).into() }).collect();
            let holders = shared.holders(&Endpoint { ticket: None, locations })?;
            Ok::<_, String>(holders.iter().map(url).collect::<Vec<_>>())
        };
        let own = "grpc://localhost:1".to_owned();
        for here in [&[][..], &["arrow-flight-reuse-connection://?"], &["grpc+tcp://localhost:1"]] {
            assert_eq!(at(here), Ok(vec![own.clone()]));
        }
        assert_eq!(
            at(&["grpc://worker-1.example.org:8815", "grpc://x:1"]),
            Ok(vec!["grpc://worker-1.example.org:8815".into()])
        );
        for uri in [
            "grpc://evil:8815",
            "grpc://worker-1.example.org@evil:8815",
            "http://localhost:1",
            "grpc://localhost:2",
            "grpc://me:secret@worker-1.example.org:8815",
            "grpc://worker-1.example.org:8815/x",
            "\u{1b}[",
        ] {
            assert!(at(&[uri]).is_err_and(|why| why.contains("but the job does not connect there")), "{uri}");
        }
    }
}
