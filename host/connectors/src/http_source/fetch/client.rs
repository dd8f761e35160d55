//! Requests of a source to its server: who the job is there, where answers lead to, and what those mean that are none.

use super::RoundEnd;
use super::last_bytes::{self, LastBytes};
use crate::http::{Client, Fault, HttpRequest, Server, Wire, retry_after};
use crate::http_source::settings::ClientReads;
use crate::tls::Tls;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use hyper::{Method, Response, StatusCode};
use millstream_base::error::Error;
use millstream_base::job::http_url;
use millstream_base::job::spec::SourceSpec;
use millstream_base::shown;
use std::path::Path;
use std::time::Duration;
use tokio::time::timeout;

/// How often an answer may lead elsewhere.
const REDIRECTS_MAX: usize = 5;
/// Of an answer that is none: what is read, for how long, and what a message shows.
const BODY_BYTES_MAX: usize = 16 << 10;
const BODY_TIME_MAX: Duration = Duration::from_secs(5);
const SHOWN_BYTES_MAX: usize = 400;

/// Sends the requests of a source to its server.
pub struct FetchClient {
    source: String,
    home: Server,
    /// What only that server hears: the token, and what the job file says.
    own: HeaderMap,
    tls: Tls,
    time_max: Duration,
}

/// Where a request goes.
#[derive(Clone)]
pub struct Target {
    server: Server,
    path: String,
    is_home: bool,
}

impl Target {
    /// The server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Path and query.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Makes a connection, and tells when bytes come over it.
    pub async fn stream(&self) -> Result<(Box<dyn Wire>, LastBytes), Fault> {
        let (listener, heard) = last_bytes::listen();
        // Beneath TLS, of which a piece may take its time as well.
        let wire = self.server.stream(|stream| listener.over(stream)).await?;
        Ok((wire, heard))
    }
}

/// An answer whose body is still to come.
pub struct Answer {
    /// Its head, and the body.
    pub response: Response<Incoming>,
    /// Where it came from.
    pub from: Target,
    /// The connection, which is gone with it.
    _client: Client,
}

/// What an answer means for the source: rows, another address, or the end.
pub enum AnswerKind {
    /// It is what was asked for.
    Good,
    /// The request goes there.
    Leads(Target),
    /// There is none.
    Ended(RoundEnd),
}

impl FetchClient {
    /// For a source; or the key that is wrong, and why.
    pub fn of(source: &SourceSpec, client: &ClientReads, folder: &Path) -> Result<FetchClient, (&'static str, String)> {
        let tls = source.tls.as_ref().map_or_else(Tls::default, |tls| Tls::of(tls, folder));
        let home = http_url::url(&client.url).and_then(|url| Server::of(&over_http(&url), tls.clone()));
        let home = home.map_err(|why| ("url", why))?;
        home.check().map_err(|why| ("tls", format!("cannot be used: {why}")))?;
        let own = headers(client).map_err(|why| ("headers", why))?;
        Ok(FetchClient { source: source.name.clone(), home, own, tls, time_max: client.timeout })
    }

    /// The URL without what stands behind `?`, for messages.
    pub fn place(&self) -> &str {
        self.home.place()
    }

    /// The URL's own target, where a parameter says more.
    pub fn target(&self, parameter: Option<(&str, &str)>) -> Target {
        let path = match parameter {
            Some((name, value)) => with_parameter(self.home.path(), name, value),
            None => self.home.path().to_owned(),
        };
        Target { server: self.home.clone(), path, is_home: true }
    }

    /// A path, with its query, of the own server.
    pub fn at(&self, path: &str) -> Target {
        Target { server: self.home.clone(), path: path.to_owned(), is_home: true }
    }

    /// Path and query of the page that an answer names as the next one. No other server is asked for it.
    pub fn page(&self, from: &Target, location: &str) -> Result<String, String> {
        let target = self.led(from, location)?;
        if target.is_home { Ok(target.path) } else { Err("which is at another server".into()) }
    }

    /// The headers of a request to there.
    pub fn headers(&self, target: &Target, more: &HeaderMap) -> HeaderMap {
        let mut headers = more.clone();
        if target.is_home {
            // What the job file says comes first.
            headers.extend(self.own.clone());
        }
        headers
    }

    /// Asks, goes where the answer leads, and waits for the head of one that is good.
    pub async fn get(&self, mut target: Target, more: &HeaderMap) -> Result<Answer, RoundEnd> {
        for _ in 0..=REDIRECTS_MAX {
            let headers = self.headers(&target, more);
            let asked = HttpRequest { method: Method::GET, path: target.path.clone(), headers, body: Bytes::new() };
            let mut client = Client::new(target.server.clone());
            let mut response = client.open(&asked, self.time_max).await?;
            let (status, headers) = (response.status(), response.headers().clone());
            let good = status.is_success() || status == StatusCode::NOT_MODIFIED;
            let body = if good { Bytes::new() } else { beginning(response.body_mut()).await };
            match self.meaning(&target, status, &headers, &body) {
                AnswerKind::Good => return Ok(Answer { response, from: target, _client: client }),
                AnswerKind::Leads(next) => target = next,
                AnswerKind::Ended(ended) => return Err(ended),
            }
        }
        Err(RoundEnd::lost(format!("more than {REDIRECTS_MAX} redirects; check `url`")))
    }

    /// What an answer is, by its head; of one that is not good also by its body.
    pub fn meaning(&self, target: &Target, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> AnswerKind {
        if status.is_success() || status == StatusCode::NOT_MODIFIED || status == StatusCode::SWITCHING_PROTOCOLS {
            return AnswerKind::Good;
        }
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        if status.is_redirection()
            && let Some(location) = text(LOCATION)
        {
            return match self.led(target, location) {
                Ok(target) => AnswerKind::Leads(target),
                Err(why) => AnswerKind::Ended(RoundEnd::Failed(Error::environment(format!(
                    "source `{}`: {}: {status}: it redirects to {}, {why}; set `url` to the final address",
                    self.source,
                    self.place(),
                    shown::harmless(location, SHOWN_BYTES_MAX)
                )))),
            };
        }
        let body = String::from_utf8_lossy(body);
        let body = shown::printable(body.trim(), SHOWN_BYTES_MAX).replace('\n', " ");
        let why = if body.is_empty() { status.to_string() } else { format!("{status}: {body}") };
        let passes = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
        if passes.contains(&status) || status.is_server_error() {
            let after = text(RETRY_AFTER).and_then(retry_after);
            return AnswerKind::Ended(RoundEnd::Lost(super::Loss { why, after, usual: false }));
        }
        let story = |help: &str| format!("source `{}`: {}: {why}; {help}", self.source, self.place());
        AnswerKind::Ended(RoundEnd::Failed(match status {
            // Starting again does not mend it, and looks like an attack.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if self.own.is_empty() => {
                Error::job(story("the server requires credentials; set `token` or `headers`"))
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Error::job(story("check `token` or `headers`, or their permissions, and restart the job"))
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                Error::environment(story("the address does not exist; check `url`"))
            }
            _ => Error::environment(story("check `url` or `headers`")),
        }))
    }

    /// Where an answer leads to. What only the own server may hear goes to no other, nor does the job's certificate.
    fn led(&self, from: &Target, location: &str) -> Result<Target, String> {
        let tls = Tls { own: None, ..self.tls.clone() };
        let scheme = if from.server.is_secure() { "https" } else { "http" };
        let authority = from.server.authority();
        let location = over_http(location.split('#').next().unwrap_or_default());
        let url = match location.as_str() {
            absolute if absolute.starts_with("http://") || absolute.starts_with("https://") => location,
            rest if rest.starts_with("//") => format!("{scheme}:{rest}"),
            rest if rest.starts_with('/') => format!("{scheme}://{authority}{rest}"),
            // Another scheme stands before a colon.
            other if other.split(['/', '?']).next().is_some_and(|first| first.contains(':')) => {
                return Err("which is not an HTTP URL".into());
            }
            rest if rest.starts_with('?') => {
                format!("{scheme}://{authority}{}{rest}", from.path.split('?').next().unwrap_or_default())
            }
            rest => {
                let path = from.path.split('?').next().unwrap_or_default();
                let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
                format!("{scheme}://{authority}{folder}/{rest}")
            }
        };
        let server = Server::of(&url, tls).map_err(|why| format!("which {why}"))?;
        if self.home.is_secure() && !server.is_secure() {
            return Err("which is not encrypted".into());
        }
        let path = server.path().to_owned();
        // With a step elsewhere in between it is who is there that leads back, and not the own server.
        match from.is_home && server.is_same(&self.home) {
            true => Ok(Target { server: self.home.clone(), path, is_home: true }),
            false => Ok(Target { server, path, is_home: false }),
        }
    }
}

/// A WebSocket begins as HTTP does.
fn over_http(url: &str) -> String {
    match url
        .strip_prefix("ws://")
        .map(|rest| ("http://", rest))
        .or(url.strip_prefix("wss://").map(|rest| ("https://", rest)))
    {
        Some((scheme, rest)) => format!("{scheme}{rest}"),
        None => url.to_owned(),
    }
}

/// A path whose query says this, in place of what it said under that name.
fn with_parameter(path: &str, name: &str, value: &str) -> String {
    use millstream_base::secrets::URL_TEXT;
    use percent_encoding::{percent_decode_str, utf8_percent_encode};
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let is_other = |pair: &&str| {
        let key = pair.split('=').next().unwrap_or_default();
        !pair.is_empty() && percent_decode_str(key).decode_utf8_lossy() != name
    };
    let encoded = |text: &str| utf8_percent_encode(text, URL_TEXT).to_string();
    let own = format!("{}={}", encoded(name), encoded(value));
    let pairs: Vec<&str> = query.split('&').filter(is_other).chain([own.as_str()]).collect();
    format!("{path}?{}", pairs.join("&"))
}

fn headers(client: &ClientReads) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    if let Some(token) = &client.token {
        let value = HeaderValue::try_from(format!("Bearer {token}"));
        let mut value = value.map_err(|_| "`token` has characters that a header must not contain".to_owned())?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    for (name, value) in &client.headers {
        let wrong = |what: &str| format!("`headers.{name}` {what}");
        let name = HeaderName::try_from(name).map_err(|_| wrong("is not a valid header name"))?;
        let mut value =
            HeaderValue::try_from(value).map_err(|_| wrong("has characters that a header must not contain"))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

/// The beginning of a body, as far as it comes soon.
async fn beginning(body: &mut Incoming) -> Bytes {
    let mut found = Vec::new();
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            found.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            if found.len() > BODY_BYTES_MAX {
                break;
            }
        }
    };
    // What came until then counts.
    let _ = timeout(BODY_TIME_MAX, reading).await;
    found.truncate(BODY_BYTES_MAX);
    found.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asker(url: &str) -> FetchClient {
        let mut client = ClientReads::new(url);
        client.token = Some("secret".into());
        FetchClient::of(&SourceSpec::of("in", client.clone()), &client, Path::new("")).unwrap()
    }

    #[test]
    fn parameters_are_put_in_place_of_those_of_the_url() {
        for (path, expected) in [
            ("/a", "/a?since=a%20%26"),
            ("/a?x=1", "/a?x=1&since=a%20%26"),
            ("/a?since=0&x=1&since=5", "/a?x=1&since=a%20%26"),
            ("/a?sinc%65=0", "/a?since=a%20%26"),
            ("/a?", "/a?since=a%20%26"),
        ] {
            assert_eq!(with_parameter(path, "since", "a &"), expected);
        }
    }

    #[test]
    fn a_url_without_a_path_is_asked_at_the_root() {
        for url in ["http://h?since=0", "ws://h?since=0"] {
            let asker = asker(url);
            assert_eq!(asker.target(None).path(), "/?since=0", "{url}");
            assert_eq!(asker.target(Some(("since", "7"))).path(), "/?since=7", "{url}");
            assert_eq!(asker.page(&asker.target(None), "?page=2"), Ok("/?page=2".into()), "{url}");
        }
    }

    #[test]
    fn no_other_server_hears_who_the_job_is() {
        let asker = asker("https://own.example/a/b?c=d");
        let home = asker.target(None);
        let told = |target: &Target| asker.headers(target, &HeaderMap::new()).contains_key(AUTHORIZATION);
        assert!(told(&home));
        for (location, path, is_told) in [
            ("/x?y", "/x?y", true),
            ("x", "/a/x", true),
            ("?page=2", "/a/b?page=2", true),
            ("https://own.example?page=2", "/?page=2", true),
            ("https://own.example:443/x#part", "/x", true),
            ("wss://own.example/x", "/x", true),
            ("https://own.example:444/x", "/x", false),
            ("//other.example/x", "/x", false),
            ("https://own.example.evil.example/x", "/x", false),
        ] {
            let led = asker.led(&home, location).unwrap();
            assert_eq!((led.path.as_str(), told(&led)), (path, is_told), "{location}");
        }
        assert_eq!(asker.page(&home, "/x?page=2"), Ok("/x?page=2".into()));
        assert_eq!(asker.page(&home, "https://own.example?page=2"), Ok("/?page=2".into()));
        assert!(asker.page(&home, "https://other.example/x").is_err());
        let away = asker.led(&home, "https://other.example/x").unwrap();
        assert!(asker.page(&away, "https://own.example/x").is_err());
        let back = asker.led(&away, "https://own.example/x").unwrap();
        assert!(!told(&back), "another server chose what is asked");
        for wrong in ["http://own.example/x", "ftp://own.example/", "https://me:pw@own.example/", "https://"] {
            assert!(asker.led(&home, wrong).is_err(), "{wrong}");
        }
    }
}
