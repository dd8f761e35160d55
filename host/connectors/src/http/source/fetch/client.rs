//! Sends the requests of a source to its server: credentials, redirects and error responses.

use super::RoundEnd;
use super::last_bytes::{self, LastBytes};
use crate::http::source::settings::ClientReads;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use hyper::{Method, Response, StatusCode};
use millstream_base::error::Error;
use millstream_base::shown;
use millstream_connect::http1::{Client, Fault, HttpRequest, Server, Wire, retry_after};
use millstream_connect::tls::Tls;
use millstream_job::http_url;
use millstream_job::spec::SourceSpec;
use std::path::Path;
use std::time::Duration;
use tokio::time::timeout;

/// Maximum number of redirects.
const REDIRECTS_MAX: usize = 5;
/// Limits for error responses: bytes and time to read, and bytes shown in a message.
const BODY_BYTES_MAX: usize = 16 << 10;
const BODY_TIME_MAX: Duration = Duration::from_secs(5);
const SHOWN_BYTES_MAX: usize = 400;

/// Sends the requests of a source to its server.
pub struct FetchClient {
    source: String,
    home: Server,
    /// Headers that only this server receives: the token, and those of the job file.
    own_headers: HeaderMap,
    tls: Tls,
    time_max: Duration,
}

/// The destination of a request.
#[derive(Clone)]
pub struct Target {
    server: Server,
    path: String,
    is_home: bool,
}

impl Target {
    /// Returns the server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Returns path and query.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Opens a connection. Returns also a handle that reports when bytes last arrived.
    pub async fn stream(&self) -> Result<(Box<dyn Wire>, LastBytes), Fault> {
        let (tracker, last_bytes) = last_bytes::tracker();
        // Below TLS, as a large TLS record may take long to arrive.
        let wire = self.server.stream(|stream| tracker.track(stream)).await?;
        Ok((wire, last_bytes))
    }
}

/// A response whose body has not been read.
pub struct FetchedResponse {
    /// Head and body of the response.
    pub response: Response<Incoming>,
    /// The target that sent it.
    pub from: Target,
    /// Keeps the connection open.
    _client: Client,
}

/// What a response means for the source.
pub enum ResponseKind {
    /// A successful response.
    Good,
    /// The request is redirected.
    Redirect(Target),
    /// An error.
    Ended(RoundEnd),
}

impl FetchClient {
    /// Creates the client of a source. An error is the invalid key and the reason.
    pub fn new(source: &SourceSpec, client: &ClientReads, dir: &Path) -> Result<FetchClient, (&'static str, String)> {
        let tls = source.tls.as_ref().map_or_else(Tls::default, |tls| Tls::from_spec(tls, dir));
        let home = http_url::url(&client.url).and_then(|url| Server::parse(&with_http_scheme(&url), tls.clone()));
        let home = home.map_err(|why| ("url", why))?;
        home.check().map_err(|why| ("tls", format!("cannot be used: {why}")))?;
        let own_headers = headers(client).map_err(|why| ("headers", why))?;
        Ok(FetchClient { source: source.name.clone(), home, own_headers, tls, time_max: client.timeout })
    }

    /// Returns the URL without its query, for messages.
    pub fn display_url(&self) -> &str {
        self.home.display_url()
    }

    /// Returns the target of the URL, optionally with an additional parameter.
    pub fn target(&self, parameter: Option<(&str, &str)>) -> Target {
        let path = match parameter {
            Some((name, value)) => with_parameter(self.home.path(), name, value),
            None => self.home.path().to_owned(),
        };
        Target { server: self.home.clone(), path, is_home: true }
    }

    /// Returns a target on the source's server; `path` includes the query.
    pub fn target_of(&self, path: &str) -> Target {
        Target { server: self.home.clone(), path: path.to_owned(), is_home: true }
    }

    /// Returns path and query of the next page that a response names. It must be on the source's server.
    pub fn page(&self, from: &Target, location: &str) -> Result<String, String> {
        let target = self.redirect_target(from, location)?;
        if target.is_home { Ok(target.path) } else { Err("which is another server".into()) }
    }

    /// Returns the headers of a request to this target.
    pub fn headers(&self, target: &Target, more: &HeaderMap) -> HeaderMap {
        let mut headers = more.clone();
        if target.is_home {
            // Headers of the job file take precedence.
            headers.extend(self.own_headers.clone());
        }
        headers
    }

    /// Sends a request, follows redirects, and waits for the head of a successful response.
    pub async fn get(&self, mut target: Target, more: &HeaderMap) -> Result<FetchedResponse, RoundEnd> {
        for _ in 0..=REDIRECTS_MAX {
            let headers = self.headers(&target, more);
            let request = HttpRequest { method: Method::GET, path: target.path.clone(), headers, body: Bytes::new() };
            let mut client = Client::new(target.server.clone());
            let mut response = client.open(&request, self.time_max).await?;
            let (status, headers) = (response.status(), response.headers().clone());
            let good = status.is_success() || status == StatusCode::NOT_MODIFIED;
            let body = if good { Bytes::new() } else { beginning(response.body_mut()).await };
            match self.classify(&target, status, &headers, &body) {
                ResponseKind::Good => return Ok(FetchedResponse { response, from: target, _client: client }),
                ResponseKind::Redirect(next) => target = next,
                ResponseKind::Ended(ended) => return Err(ended),
            }
        }
        Err(RoundEnd::unexpected_loss(format!("more than {REDIRECTS_MAX} redirects; check `url`")))
    }

    /// Classifies a response by its head, and an error response also by its body.
    pub fn classify(&self, target: &Target, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> ResponseKind {
        if status.is_success() || status == StatusCode::NOT_MODIFIED || status == StatusCode::SWITCHING_PROTOCOLS {
            return ResponseKind::Good;
        }
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        if status.is_redirection()
            && let Some(location) = text(LOCATION)
        {
            return match self.redirect_target(target, location) {
                Ok(target) => ResponseKind::Redirect(target),
                Err(why) => ResponseKind::Ended(RoundEnd::Failed(Error::environment(format!(
                    "source `{}`: {}: {status}: it redirects to {}, {why}; set `url` to the final address",
                    self.source,
                    self.display_url(),
                    shown::harmless(location, SHOWN_BYTES_MAX)
                )))),
            };
        }
        let body = String::from_utf8_lossy(body);
        let body = shown::printable(body.trim(), SHOWN_BYTES_MAX).replace('\n', " ");
        let why = if body.is_empty() { status.to_string() } else { format!("{status}: {body}") };
        let transient_statuses = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
        if transient_statuses.contains(&status) || status.is_server_error() {
            let after = text(RETRY_AFTER).and_then(retry_after);
            return ResponseKind::Ended(RoundEnd::Lost(super::ConnectionLoss { why, after, expected: false }));
        }
        let to_message = |help: &str| format!("source `{}`: {}: {why}; {help}", self.source, self.display_url());
        ResponseKind::Ended(RoundEnd::Failed(match status {
            // Restarting does not help, and would look like an attack.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if self.own_headers.is_empty() => {
                Error::job(to_message("the server requires credentials; set `token` or `headers`"))
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Error::job(to_message("check `token` or `headers`, or their permissions, and restart the job"))
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                Error::environment(to_message("the address does not exist; check `url`"))
            }
            _ => Error::environment(to_message("check `url` or `headers`")),
        }))
    }

    /// Resolves a redirect. Credentials and the client certificate are sent only to the source's own server.
    fn redirect_target(&self, from: &Target, location: &str) -> Result<Target, String> {
        let tls = Tls { own: None, ..self.tls.clone() };
        let scheme = if from.server.is_secure() { "https" } else { "http" };
        let authority = from.server.authority();
        let location = with_http_scheme(location.split('#').next().unwrap_or_default());
        let url = match location.as_str() {
            absolute if absolute.starts_with("http://") || absolute.starts_with("https://") => location,
            rest if rest.starts_with("//") => format!("{scheme}:{rest}"),
            rest if rest.starts_with('/') => format!("{scheme}://{authority}{rest}"),
            // A colon in the first segment means another scheme.
            other if other.split(['/', '?']).next().is_some_and(|first| first.contains(':')) => {
                return Err("which is not an HTTP URL".into());
            }
            rest if rest.starts_with('?') => {
                format!("{scheme}://{authority}{}{rest}", from.path.split('?').next().unwrap_or_default())
            }
            rest => {
                let path = from.path.split('?').next().unwrap_or_default();
                let dir = path.rsplit_once('/').map_or("", |(dir, _)| dir);
                format!("{scheme}://{authority}{dir}/{rest}")
            }
        };
        let server = Server::parse(&url, tls).map_err(|why| format!("which {why}"))?;
        if self.home.is_secure() && !server.is_secure() {
            return Err("which is not encrypted".into());
        }
        let path = server.path().to_owned();
        // After a detour the other server chose the target, and not the source's own server.
        match from.is_home && server.is_same(&self.home) {
            true => Ok(Target { server: self.home.clone(), path, is_home: true }),
            false => Ok(Target { server, path, is_home: false }),
        }
    }
}

/// Replaces the scheme of a WebSocket URL, as its handshake is an HTTP request.
fn with_http_scheme(url: &str) -> String {
    match url
        .strip_prefix("ws://")
        .map(|rest| ("http://", rest))
        .or(url.strip_prefix("wss://").map(|rest| ("https://", rest)))
    {
        Some((scheme, rest)) => format!("{scheme}{rest}"),
        None => url.to_owned(),
    }
}

/// Sets a query parameter, replacing its previous values.
fn with_parameter(path: &str, name: &str, value: &str) -> String {
    use millstream_base::secrets::URL_TEXT;
    use percent_encoding::{percent_decode_str, utf8_percent_encode};
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let is_other = |pair: &&str| {
        let key = pair.split('=').next().unwrap_or_default();
        !pair.is_empty() && percent_decode_str(key).decode_utf8_lossy() != name
    };
    let encoded = |text: &str| utf8_percent_encode(text, URL_TEXT).to_string();
    let pair = format!("{}={}", encoded(name), encoded(value));
    let pairs: Vec<&str> = query.split('&').filter(is_other).chain([pair.as_str()]).collect();
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

/// Reads the beginning of a body, within limits.
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
    // Keep what has arrived until the timeout.
    let _ = timeout(BODY_TIME_MAX, reading).await;
    found.truncate(BODY_BYTES_MAX);
    found.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetcher(url: &str) -> FetchClient {
        let mut client = ClientReads::new(url);
        client.token = Some("secret".into());
        FetchClient::new(&SourceSpec::from_config("in", client.clone()), &client, Path::new("")).unwrap()
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
            let fetcher = fetcher(url);
            assert_eq!(fetcher.target(None).path(), "/?since=0", "{url}");
            assert_eq!(fetcher.target(Some(("since", "7"))).path(), "/?since=7", "{url}");
            assert_eq!(fetcher.page(&fetcher.target(None), "?page=2"), Ok("/?page=2".into()), "{url}");
        }
    }

    #[test]
    fn no_other_server_hears_who_the_job_is() {
        let fetcher = fetcher("https://own.example/a/b?c=d");
        let home = fetcher.target(None);
        let is_trusted = |target: &Target| fetcher.headers(target, &HeaderMap::new()).contains_key(AUTHORIZATION);
        assert!(is_trusted(&home));
        for (location, path, expected_trust) in [
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
            let target = fetcher.redirect_target(&home, location).unwrap();
            assert_eq!((target.path.as_str(), is_trusted(&target)), (path, expected_trust), "{location}");
        }
        assert_eq!(fetcher.page(&home, "/x?page=2"), Ok("/x?page=2".into()));
        assert_eq!(fetcher.page(&home, "https://own.example?page=2"), Ok("/?page=2".into()));
        assert!(fetcher.page(&home, "https://other.example/x").is_err());
        let redirected = fetcher.redirect_target(&home, "https://other.example/x").unwrap();
        assert!(fetcher.page(&redirected, "https://own.example/x").is_err());
        let back = fetcher.redirect_target(&redirected, "https://own.example/x").unwrap();
        assert!(!is_trusted(&back), "another server chose what is asked");
        for wrong in ["http://own.example/x", "ftp://own.example/", "https://me:pw@own.example/", "https://"] {
            assert!(fetcher.redirect_target(&home, wrong).is_err(), "{wrong}");
        }
    }
}
