//! Kinesis streams for sources and sinks: endpoints, credentials, requests with AWS signatures, and the meaning of errors. Endpoint and
//! credentials come from the same environment variables as for buckets.

pub mod declaration;
pub mod settings;
mod sink;
mod source;
mod fault;

pub use fault::KinesisFault;

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request};
use millstream_base::shown;
use millstream_connect::http1::{Client, Fault, HttpRequest, Server};
use millstream_connect::objects::{CloudSetupError, amazon, check_amazon_http};
use millstream_connect::tls::Tls;
use object_store::RetryConfig;
use object_store::aws::{AmazonS3ConfigKey, AwsAuthorizer, AwsCredential, AwsCredentialProvider};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::timeout;

/// Maximum time of a response, and of a credentials request.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum bytes of a response: at most 10 MB of records in base64, with their metadata.
const RESPONSE_BYTES_MAX: usize = 64 << 20;
const SHOWN_BYTES_MAX: usize = 400;
const SERVICE: &str = "kinesis";
const TARGET: HeaderName = HeaderName::from_static("x-amz-target");
const ENDPOINTS: [&str; 2] = ["AWS_ENDPOINT_URL_KINESIS", "AWS_ENDPOINT_URL"];
const CREDENTIALS: &str = "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, of a session, AWS_SESSION_TOKEN";

/// A stream.
pub struct Stream {
    name: String,
    region: String,
    server: Server,
    credentials: AwsCredentialProvider,
    /// Whether the environment contains the credentials: these do not change.
    given: bool,
    /// Whether credentials were ever available.
    had: AtomicBool,
}

impl Stream {
    /// Creates the stream of this name. Settings are environment variables. The error has the invalid key.
    pub fn new(
        name: &str,
        region: Option<&str>,
        settings: &[(String, String)],
    ) -> Result<Stream, (&'static str, String)> {
        let setting = |name: &str| settings.iter().find(|(of, _)| of == name).map(|(_, value)| value.as_str());
        let builder = amazon(settings);
        let region = region.map(str::to_owned).or_else(|| builder.get_config_value(&AmazonS3ConfigKey::Region));
        let region = region.filter(|region| !region.is_empty()).ok_or_else(|| {
            (
                "stream",
                "the region of the stream is unknown; write region = \"eu-west-1\", or set AWS_REGION".to_owned(),
            )
        })?;
        if !region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            let region = shown::harmless(&region, SHOWN_BYTES_MAX);
            return Err(("region", format!("`{region}` is not a region; write one, for example \"eu-west-1\"")));
        }
        let endpoint =
            ENDPOINTS.into_iter().find_map(|name| Some((name, setting(name).filter(|url| !url.is_empty())?)));
        let url = match endpoint {
            Some((_, url)) => url.to_owned(),
            None if region.starts_with("cn-") => format!("https://kinesis.{region}.amazonaws.com.cn/"),
            None => format!("https://kinesis.{region}.amazonaws.com/"),
        };
        let server = Server::parse(&url, Tls::default()).map_err(|message| {
            ("stream", format!("{} {message}", endpoint.map_or("the endpoint", |(name, _)| name)))
        })?;
        let not_made = |error: CloudSetupError| ("stream", error.into_error("the stream").message);
        check_amazon_http(&url, settings).map_err(not_made)?;
        let retry = RetryConfig { max_retries: 2, retry_timeout: RESPONSE_TIMEOUT, ..RetryConfig::default() };
        // No request is sent to a bucket: the builder only provides the credentials.
        let store = builder.with_bucket_name("none").with_region(&region).with_retry(retry).build();
        let store = store.map_err(|error| not_made(CloudSetupError::Client(error)))?;
        Ok(Stream {
            name: name.to_owned(),
            region,
            server,
            credentials: store.credentials().clone(),
            given: setting("AWS_ACCESS_KEY_ID").is_some(),
            had: AtomicBool::new(false),
        })
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns its address for messages.
    pub fn display_name(&self) -> String {
        format!("stream `{}` at {}", self.name, self.server.display_url())
    }

    async fn credential(&self) -> Result<Arc<AwsCredential>, KinesisFault> {
        let why = match timeout(RESPONSE_TIMEOUT, self.credentials.get_credential()).await {
            Ok(Ok(credential)) => {
                self.had.store(true, Ordering::Relaxed);
                return Ok(credential);
            }
            Ok(Err(error)) => shown::harmless(&error.to_string(), SHOWN_BYTES_MAX),
            Err(_) => "no answer".to_owned(),
        };
        match self.had.load(Ordering::Relaxed) {
            true => Err(KinesisFault::Transient(format!("no new credentials: {why}"))),
            false => Err(KinesisFault::Permanent(format!("no credentials found ({why}); set {CREDENTIALS}"))),
        }
    }

    /// Returns the headers of a request, with its signature.
    async fn signed(&self, action: &str, body: &Bytes) -> Result<HeaderMap, KinesisFault> {
        let credential = self.credential().await?;
        let is_header = |text: &str| HeaderValue::from_str(text).is_ok();
        if !is_header(&credential.key_id) || credential.token.as_deref().is_some_and(|token| !is_header(token)) {
            return Err(KinesisFault::Permanent(format!(
                "the credentials have characters that a request must not contain; set {CREDENTIALS}"
            )));
        }
        let uri = format!("{}{}", self.server.display_url().trim_end_matches('/'), "/");
        let target = format!("Kinesis_20131202.{action}");
        let request = Request::builder()
            .method(Method::POST)
            .uri(uri)
            .header(CONTENT_TYPE, "application/x-amz-json-1.1")
            .header(TARGET, target)
            .body(body.clone().into());
        let mut request =
            request.map_err(|error| KinesisFault::Permanent(format!("cannot build a request: {error}")))?;
        AwsAuthorizer::new(&credential, SERVICE, &self.region).authorize(&mut request, None);
        Ok(request.into_parts().0.headers)
    }
}

/// Sends requests about one stream over one connection.
pub struct KinesisClient {
    stream: Arc<Stream>,
    client: Client,
}

impl KinesisClient {
    /// Creates a client, which is not connected yet.
    pub fn new(stream: &Arc<Stream>) -> KinesisClient {
        KinesisClient { stream: stream.clone(), client: Client::new(stream.server.clone()) }
    }

    /// Returns the stream.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Requests an action, and decodes the response.
    pub async fn request<T: DeserializeOwned>(&mut self, action: &str, body: Value) -> Result<T, KinesisFault> {
        let body = Bytes::from(body.to_string());
        let headers = self.stream.signed(action, &body).await?;
        let path = format!("{}/", self.client.server().path().trim_end_matches('/'));
        let request = HttpRequest { method: Method::POST, path, headers, body };
        let reply = match self.client.request_reply(&request, RESPONSE_TIMEOUT, RESPONSE_BYTES_MAX).await {
            Ok(reply) => reply,
            Err(Fault::Transient(why)) => {
                return Err(KinesisFault::Transient(format!("{}: {why}", self.stream.display_name())));
            }
            Err(Fault::Permanent(why)) => {
                return Err(KinesisFault::Permanent(format!("{}: {why}", self.stream.display_name())));
            }
        };
        if !reply.status.is_success() {
            return Err(fault::parse(&reply, &self.stream));
        }
        let none: &[u8] = if reply.body.is_empty() { b"null" } else { &reply.body };
        serde_json::from_slice(none).map_err(|error| {
            KinesisFault::Transient(format!(
                "{}: its response to {action} is invalid: {error}",
                self.stream.display_name()
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(region: Option<&str>, settings: &[(&str, &str)]) -> Result<String, String> {
        let settings: Vec<_> = settings.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let stream = Stream::new("orders", region, &settings);
        stream
            .map(|stream| format!("{} {}", stream.region, stream.server.display_url()))
            .map_err(|(_, message)| message)
    }

    #[test]
    fn where_a_stream_is_follows_from_the_region_or_the_endpoint() {
        let usual = "eu-west-1 https://kinesis.eu-west-1.amazonaws.com/";
        assert_eq!(of(Some("eu-west-1"), &[("AWS_REGION", "us-east-2")]).unwrap(), usual);
        assert_eq!(of(None, &[("AWS_REGION", "eu-west-1")]).unwrap(), usual);
        assert_eq!(of(None, &[("AWS_DEFAULT_REGION", "eu-west-1")]).unwrap(), usual);
        assert_eq!(of(Some("cn-north-1"), &[]).unwrap(), "cn-north-1 https://kinesis.cn-north-1.amazonaws.com.cn/");
        let own =
            [("AWS_ENDPOINT_URL", "https://s3.example.org"), ("AWS_ENDPOINT_URL_KINESIS", "https://k.example.org/")];
        assert_eq!(of(Some("x"), &own).unwrap(), "x https://k.example.org/");
        assert_eq!(of(Some("x"), &own[..1]).unwrap(), "x https://s3.example.org/");
        assert!(of(None, &[]).unwrap_err().contains("set AWS_REGION"));
        assert!(of(Some("a.b/c"), &[]).unwrap_err().contains("is not a region"));
    }

    #[test]
    fn plain_http_has_to_be_allowed() {
        let plain = ("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
        let error = of(Some("x"), &[plain]).unwrap_err();
        assert!(error.contains("set AWS_ALLOW_HTTP=true"), "{error}");
        assert!(of(Some("x"), &[plain, ("AWS_ALLOW_HTTP", "true")]).is_ok());
    }

    #[tokio::test]
    async fn requests_are_signed_and_strange_credentials_are_told() {
        let settings = |token: &str| {
            [("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "secret"), ("AWS_SESSION_TOKEN", token)]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
        };
        let stream = Stream::new("orders", Some("eu-west-1"), &settings("token")).ok().unwrap();
        let headers = stream.signed("ListShards", &Bytes::from("{}")).await.ok().unwrap();
        let authorization = headers["authorization"].to_str().unwrap();
        assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=id/"), "{authorization}");
        assert!(authorization.contains("/eu-west-1/kinesis/aws4_request, SignedHeaders="), "{authorization}");
        assert!(authorization.contains("host;"), "{authorization}");
        assert_eq!(headers["host"], "kinesis.eu-west-1.amazonaws.com");
        assert_eq!(headers["x-amz-security-token"], "token");
        let stream = Stream::new("orders", Some("eu-west-1"), &settings("to\nken")).ok().unwrap();
        assert!(matches!(stream.signed("ListShards", &Bytes::new()).await, Err(KinesisFault::Permanent(_))));
    }
}
