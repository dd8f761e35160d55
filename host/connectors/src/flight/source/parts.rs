//! Which parts a stream has and who has them, for all who read one.

use super::position::FlightPosition;
use crate::flight::limits::{ENDPOINTS_AT_ONCE, ENDPOINTS_MAX};
use crate::flight::messages::{Endpoint, Info};
use crate::flight::settings::FlightReads;
use crate::flight::{self, ANSWER_BYTES_MAX, CallRefusal, Fault, Server};
use glob::Pattern;
use millstream_base::batch::reading::ReadTrouble;
use millstream_base::error::Error;
use millstream_base::job::spec::{Origin, SourceSpec};
use millstream_base::shown;
use prost::Message as _;
use std::collections::BTreeSet;
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::time::timeout;

/// Location of a part that whoever answered has itself.
const HERE: &str = "arrow-flight-reuse-connection:";

/// What a server told of a stream.
#[derive(Default)]
pub struct Parts {
    /// Its parts, in the order in which they are numbered.
    pub endpoints: Vec<Endpoint>,
}

/// What those know together who read a source.
pub struct Shared {
    pub source: SourceSpec,
    pub reads: FlightReads,
    /// Who is asked for the stream.
    pub server: Server,
    folder: PathBuf,
    locations: Vec<Pattern>,
    /// Connections go on while nobody polls. The runtime of the job ends before its threads do.
    runtime: Option<Runtime>,
    handle: Handle,
    known: Mutex<KnownParts>,
}

#[derive(Default)]
struct KnownParts {
    parts: Option<Arc<Parts>>,
    /// How many parts the stream had for earlier starts.
    count: Option<usize>,
    ended: BTreeSet<usize>,
}

impl Shared {
    /// Of a source; or the key that is wrong, and why.
    pub fn of(source: &SourceSpec, reads: &FlightReads, origin: &Origin) -> Result<Shared, (&'static str, String)> {
        let locations = patterns(reads)?;
        let server = Server::of(&reads.url, reads.token.as_deref(), source.tls.as_ref(), &origin.folder)?;
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("flight").enable_all().build();
        let runtime =
            runtime.map_err(|error| ("url", format!("cannot be read: a runtime cannot be started: {error}")))?;
        Ok(Shared {
            source: source.clone(),
            reads: reads.clone(),
            server,
            folder: origin.folder.clone(),
            locations,
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
            known: Mutex::default(),
        })
    }

    /// Waits, on a thread that may.
    pub fn block_on<F: Future>(&self, work: F) -> F::Output {
        self.handle.block_on(work)
    }

    fn known(&self) -> MutexGuard<'_, KnownParts> {
        // Nothing that is done under the lock can leave it half done.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What earlier starts have read.
    pub fn remember(&self, places: impl Iterator<Item = (usize, FlightPosition)>) {
        let mut known = self.known();
        for (number, at) in places {
            known.count = Some(at.parts);
            if at.ended {
                known.ended.insert(number);
            }
        }
    }

    /// A part was read to its end.
    pub fn ended(&self, number: usize) {
        self.known().ended.insert(number);
    }

    /// The parts that are read now: others follow when these have ended. There is always one, whose end is that of the source.
    pub fn names(&self) -> Result<Vec<String>, ReadTrouble> {
        let last = |count: usize| vec![count.saturating_sub(1).to_string()];
        {
            let known = self.known();
            if let Some(count) = known.count.filter(|count| known.ended.len() >= (*count).max(1)) {
                return Ok(last(count));
            }
        }
        let (parts, _) = self.parts()?;
        let count = parts.endpoints.len();
        let mut known = self.known();
        if let Some(before) = known.count.replace(count).filter(|before| *before != count) {
            known.count = Some(before);
            return Err(self.lasting(&self.server, &other_rows(&format!("{count} parts, and there were {before}"))));
        }
        let open = (0..count).filter(|number| !known.ended.contains(number)).take(ENDPOINTS_AT_ONCE);
        let names: Vec<String> = open.map(|number| number.to_string()).collect();
        Ok(if names.is_empty() { last(count) } else { names })
    }

    /// The parts as the server tells them, and whether it was asked just now.
    pub fn parts(&self) -> Result<(Arc<Parts>, bool), ReadTrouble> {
        let mut known = self.known();
        if let Some(parts) = &known.parts {
            return Ok((parts.clone(), false));
        }
        let asked = self.block_on(async {
            let mut connection = self.server.connect().await?;
            let mut answers =
                connection.ask("GetFlightInfo", &flight::descriptor(&self.reads.wanted), ANSWER_BYTES_MAX);
            let answer = async {
                let info = answers.next().await?;
                while info.is_some() && answers.next().await?.is_some() {}
                Ok(info)
            };
            let stall = self.reads.stall;
            let answered: Result<_, CallRefusal> =
                timeout(stall, answer).await.unwrap_or_else(|_| Err(flight::stalled(stall).into()));
            answered.map_err(|refused| refused.fault)
        });
        let info = asked.map_err(|fault| self.trouble(&self.server, fault))?;
        let info = Info::decode(info.unwrap_or_default());
        let info = info.map_err(|error| self.lasting(&self.server, &format!("it sent an invalid message: {error}")))?;
        let count = info.endpoints.len();
        if count > ENDPOINTS_MAX {
            return Err(self.lasting(
                &self.server,
                &format!("the stream has {count} parts, and a source reads at most {ENDPOINTS_MAX}; configure the server to return fewer"),
            ));
        }
        let parts = Arc::new(Parts { endpoints: info.endpoints });
        Ok((known.parts.insert(parts).clone(), true))
    }

    /// The server is asked again next time, unless it was since it told this.
    pub fn forget(&self, parts: &Arc<Parts>) {
        let mut known = self.known();
        if known.parts.as_ref().is_some_and(|now| Arc::ptr_eq(now, parts)) {
            known.parts = None;
        }
    }

    /// Who has a part: any of them, the first one first. It is the server itself, or stands where the job may go: whoever it is gets to know what the
    /// job logs in with.
    pub fn holders(&self, endpoint: &Endpoint) -> Result<Vec<Server>, String> {
        let mut holders = Vec::new();
        let (own, safe) = (url(&self.server), self.server.place.tls.is_some());
        // What a server says is judged before anything is made of it.
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
            let other = other.and_then(|url| self.server.beside(&url, self.source.tls.as_ref(), &self.folder));
            holders.extend(other);
        }
        if let (true, Some(location)) = (holders.is_empty(), endpoint.locations.first()) {
            let shown = shown::harmless(&location.uri, 200);
            return Err(format!(
                "its rows are at `{shown}`, and the job does not go there{}",
                match flight::plain_url(&location.uri) {
                    Some(url) if safe && url.starts_with("grpc://") =>
                        ", as `url` has TLS, and that server has none".to_owned(),
                    _ => format!("; write locations = \"{shown}\" if that server may receive the job's credentials"),
                }
            ));
        }
        if holders.is_empty() {
            holders.push(self.server.clone());
        }
        Ok(holders)
    }

    /// Why something did not work at a server.
    pub fn trouble(&self, server: &Server, fault: Fault) -> ReadTrouble {
        match fault {
            Fault::Passing(why) => ReadTrouble::Passing(format!("{}: {why}", server.place.shown())),
            Fault::Lasting(why) => self.lasting(server, &why),
        }
    }

    fn lasting(&self, server: &Server, why: &str) -> ReadTrouble {
        let (source, place, stream) = (&self.source.name, server.place.shown(), flight::shown(&self.reads.wanted));
        ReadTrouble::Lasting(Error::job(format!("source `{source}`: {place}: stream {stream}: {why}")))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Of the servers that are said to have a part, so many are looked at.
const LOCATIONS_MAX: usize = 100;

/// Where the job goes beside its server; or the key that is wrong, and why.
pub fn patterns(reads: &FlightReads) -> Result<Vec<Pattern>, (&'static str, String)> {
    let pattern = |location: &String| {
        // What stands in brackets is an address of IPv6, and no class of letters.
        Pattern::new(&location.replace('[', "[[]"))
            .map_err(|error| ("locations", format!("`{location}` is not a valid pattern: {error}")))
    };
    reads.locations.iter().map(pattern).collect()
}

/// Where a server is, as `locations` name it.
fn url(server: &Server) -> String {
    let place = &server.place;
    let host = if place.host.contains(':') { format!("[{}]", place.host) } else { place.host.clone() };
    format!("grpc{}://{host}:{}", if place.tls.is_some() { "+tls" } else { "" }, place.port)
}

/// What to do about a server that does not give what it gave.
pub fn other_rows(what: &str) -> String {
    format!(
        "it returns other rows than before: {what}. The job's position is a number of rows; let the server return the same rows in the \
         same order, or start from scratch with --fresh"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flight::messages::Location;
    use crate::flight::settings::FlightDescriptor;
    use millstream_base::job::spec::{Format, SourceKind};

    #[test]
    fn the_job_goes_only_where_it_may() {
        let wanted = FlightDescriptor::Path(vec!["a".into()]);
        let mut reads = FlightReads::new("grpc://me:secret@localhost:1", wanted);
        reads.locations = vec!["grpc://worker-*.example.org:8815".into()];
        let source = SourceSpec::new("in", SourceKind::Declared(Arc::new(reads.clone())), Format::Json);
        let shared = Shared::of(&source, &reads, &Origin::default()).unwrap();
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
        for away in [
            "grpc://evil:8815",
            "grpc://worker-1.example.org@evil:8815",
            "http://localhost:1",
            "grpc://localhost:2",
            "grpc://me:secret@worker-1.example.org:8815",
            "grpc://worker-1.example.org:8815/x",
            "\u{1b}[",
        ] {
            assert!(at(&[away]).is_err_and(|why| why.contains("does not go there")), "{away}");
        }
    }
}
