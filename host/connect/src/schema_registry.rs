//! A client of Confluent-compatible schema registries: requests, and the meaning of responses.

use crate::tls::{self, Tls};
use bytes::{Bytes, BytesMut};
use millstream_job::spec::TlsSpec;
use millstream_rows::formats::RegistrySpec;
use reqwest::redirect::Policy;
use reqwest::{Client, Method, StatusCode, Url};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::error::Error as _;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Maximum time of a response.
const RESPONSE_TIME_MAX: Duration = Duration::from_secs(10);
/// Maximum bytes of a response: a schema as JSON text.
const RESPONSE_BYTES_MAX: usize = 16 << 20;
/// Maximum number of schemas that one refers to, directly or indirectly.
const REFERENCES_MAX: usize = 1_000;
/// Maximum bytes of a registry's error message in an error.
const SHOWN_BYTES_MAX: usize = 1_000;
/// Statuses of a registry without the requested schema or method.
const UNKNOWN: [StatusCode; 2] = [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED];

/// A registry.
pub struct SchemaRegistry {
    spec: RegistrySpec,
    dir: PathBuf,
}

/// Why a registry gave no usable response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistryFault {
    /// The registry is unreachable.
    Transient(String),
    /// A retry does not help.
    Permanent(String),
    /// The registry rejects the schema.
    Incompatible(String),
}

impl fmt::Display for RegistryFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (RegistryFault::Transient(message)
        | RegistryFault::Permanent(message)
        | RegistryFault::Incompatible(message)) = self;
        f.write_str(message)
    }
}

/// A schema in a response.
#[derive(Deserialize)]
struct RegisteredSchema {
    schema: String,
    #[serde(rename = "schemaType")]
    kind: Option<String>,
    #[serde(default)]
    references: Vec<Reference>,
}

/// Another schema of the registry, whose types are used.
#[derive(Deserialize)]
struct Reference {
    subject: String,
    version: i64,
}

/// A schema to be registered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewSchema {
    /// The schema: Avro JSON, or a Protobuf definition file.
    pub text: String,
    /// The schema type, if it is not Avro: `PROTOBUF`.
    pub kind: Option<&'static str>,
    /// The schemas that it imports: the name of the import, and its subject and version in the registry.
    pub references: Vec<(String, String, i64)>,
}

impl NewSchema {
    fn body(&self) -> Value {
        let mut body = json!({ "schema": self.text });
        if let (Some(kind), Some(members)) = (self.kind, body.as_object_mut()) {
            members.insert("schemaType".into(), kind.into());
        }
        let reference = |(name, subject, version): &(String, String, i64)| json!({ "name": name, "subject": subject, "version": version });
        if let (false, Some(members)) = (self.references.is_empty(), body.as_object_mut()) {
            members.insert("references".into(), self.references.iter().map(reference).collect());
        }
        body
    }
}

/// The id and version of a schema in a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct SchemaId {
    /// Its id, which records contain.
    pub id: u32,
    /// Its version under the requested subject.
    #[serde(default)]
    pub version: i64,
}

#[derive(Deserialize)]
struct RegisteredId {
    id: u32,
}

#[derive(Deserialize)]
struct Compatibility {
    is_compatible: bool,
    /// The reasons, in the format of Confluent's registry and of Apicurio's.
    #[serde(default)]
    messages: Vec<String>,
    reason: Option<String>,
}

#[derive(Default, Deserialize)]
struct ErrorBody {
    #[serde(default)]
    message: String,
}

impl SchemaRegistry {
    /// Creates a client; paths are relative to this directory.
    pub fn new(spec: &RegistrySpec, dir: &Path) -> SchemaRegistry {
        SchemaRegistry { spec: spec.clone(), dir: dir.to_owned() }
    }

    /// Returns the schema of an id, with all that it refers to. `None`: the registry does not have it.
    pub async fn schema(&self, id: u32) -> Result<Option<Bytes>, RegistryFault> {
        let (status, body) = self.request(Method::GET, &["schemas", "ids", &id.to_string()], None).await?;
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let registered: RegisteredSchema = self.read(status, &body)?;
        Ok(Some(match registered.kind.as_deref() {
            None | Some("AVRO") if registered.references.is_empty() => Bytes::from(registered.schema),
            None | Some("AVRO") => self.with_references(registered).await?,
            // Not an Avro schema, and so rejected with its type.
            Some(other) => Bytes::from(format!("{other}: not an Avro schema")),
        }))
    }

    /// Returns a schema after those that it refers to, recursively.
    async fn with_references(&self, registered: RegisteredSchema) -> Result<Bytes, RegistryFault> {
        // A stack of steps: request a reference, or add a schema whose references were added.
        enum Next {
            Request(Reference),
            Add(String),
        }
        let mut seen = HashSet::new();
        let mut schemas = Vec::new();
        let mut bytes = registered.schema.len();
        let mut next: Vec<Next> = vec![Next::Add(registered.schema)];
        next.extend(registered.references.into_iter().rev().map(Next::Request));
        while let Some(step) = next.pop() {
            let reference = match step {
                Next::Add(schema) => {
                    let broken = |error| RegistryFault::Permanent(format!("one of its schemas is not JSON: {error}"));
                    schemas.push(serde_json::from_str::<Value>(&schema).map_err(broken)?);
                    continue;
                }
                Next::Request(reference) => reference,
            };
            let Reference { subject, version } = reference;
            if !seen.insert((subject.clone(), version)) {
                continue;
            }
            if seen.len() > REFERENCES_MAX {
                return Err(RegistryFault::Permanent(format!("it refers to more than {REFERENCES_MAX} schemas")));
            }
            let path = ["subjects", &subject, "versions", &version.to_string()];
            let (status, body) = self.request(Method::GET, &path, None).await?;
            let registered: RegisteredSchema = self.read(status, &body)?;
            bytes += registered.schema.len();
            if bytes > RESPONSE_BYTES_MAX {
                let max = RESPONSE_BYTES_MAX;
                return Err(RegistryFault::Permanent(format!(
                    "it refers to schemas of more than {max} bytes together"
                )));
            }
            next.push(Next::Add(registered.schema));
            next.extend(registered.references.into_iter().rev().map(Next::Request));
        }
        let schema = schemas.pop();
        Ok(Bytes::from(json!({ "with": schemas, "schema": schema }).to_string()))
    }

    /// Registers a schema under this subject, if it is not registered yet. Returns its id.
    pub async fn register(&self, subject: &str, schema: &NewSchema) -> Result<u32, RegistryFault> {
        let request = Some(schema.body());
        let (status, body) = self.request(Method::POST, &["subjects", subject, "versions"], request).await?;
        self.read::<RegisteredId>(status, &body).map(|found| found.id)
    }

    /// Looks up a schema under this subject. `None`: it is not registered.
    pub async fn look_up(&self, subject: &str, schema: &NewSchema) -> Result<Option<SchemaId>, RegistryFault> {
        let (status, body) = self.request(Method::POST, &["subjects", subject], Some(schema.body())).await?;
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        self.read(status, &body).map(Some)
    }

    /// Returns why this schema is incompatible with the registered ones of this subject. `None`: it is compatible, or this is unknown
    /// before it is tried.
    pub async fn incompatible(&self, subject: &str, schema: &NewSchema) -> Result<Option<String>, RegistryFault> {
        let path = ["compatibility", "subjects", subject, "versions", "latest", "?verbose=true"];
        let (status, body) = self.request(Method::POST, &path, Some(schema.body())).await?;
        if UNKNOWN.contains(&status) {
            return Ok(None);
        }
        let found: Compatibility = self.read(status, &body)?;
        let reported: Vec<String> = found.messages.into_iter().chain(found.reason).collect();
        let why = if reported.is_empty() { "it does not say why".to_owned() } else { reported.join("; ") };
        Ok((!found.is_compatible).then(|| truncated(&why)))
    }

    /// Decodes a successful response.
    fn read<T: for<'a> Deserialize<'a>>(&self, status: StatusCode, body: &[u8]) -> Result<T, RegistryFault> {
        if !status.is_success() {
            let reported = serde_json::from_slice::<ErrorBody>(body).unwrap_or_default().message;
            let reported = if reported.is_empty() { String::new() } else { format!(": {}", truncated(&reported)) };
            let kind = match status {
                StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY => RegistryFault::Incompatible,
                _ => RegistryFault::Permanent,
            };
            return Err(kind(format!("it replied {status}{reported}")));
        }
        let foreign = |error| RegistryFault::Permanent(format!("its response is not from a schema registry: {error}"));
        serde_json::from_slice(body).map_err(foreign)
    }

    /// Sends one request; a response that means the registry is unavailable is an error.
    async fn request(
        &self,
        method: Method,
        path: &[&str],
        body: Option<Value>,
    ) -> Result<(StatusCode, Bytes), RegistryFault> {
        let request = self.client()?.request(method, self.address(path)?);
        let kinds = "application/vnd.schemaregistry.v1+json, application/json";
        let request = request.header("accept", kinds);
        let request = match body {
            None => request,
            Some(body) => {
                request.header("content-type", "application/vnd.schemaregistry.v1+json").body(body.to_string())
            }
        };
        let request = match &self.spec.login {
            None => request,
            Some((user, token)) if user.is_empty() => request.bearer_auth(token),
            Some((user, password)) => request.basic_auth(user, Some(password)),
        };
        let mut response = request.send().await.map_err(|error| self.request_fault(&error))?;
        let status = response.status();
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            let message = "authentication failed; check `user` and `password`, or `token`, of `registry`";
            return Err(RegistryFault::Permanent(message.into()));
        }
        if status.is_server_error() || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT) {
            return Err(RegistryFault::Transient(format!("it replied {status}")));
        }
        let mut body = BytesMut::new();
        while let Some(more) = response.chunk().await.map_err(|error| self.request_fault(&error))? {
            if body.len() + more.len() > RESPONSE_BYTES_MAX {
                return Err(RegistryFault::Permanent(format!(
                    "its response is longer than {RESPONSE_BYTES_MAX} bytes"
                )));
            }
            body.extend_from_slice(&more);
        }
        Ok((status, body.freeze()))
    }

    /// Certificates may be renewed while the job runs, and requests are few.
    fn client(&self) -> Result<Client, RegistryFault> {
        let tls = TlsSpec { ca: self.spec.ca.clone(), ..TlsSpec::default() };
        let config =
            Tls::from_spec(&tls, &self.dir).config().map_err(|tls_error| RegistryFault::Permanent(tls_error.0))?;
        let client = Client::builder().tls_backend_preconfigured((*config).clone());
        client
            .no_proxy()
            .redirect(Policy::none())
            .timeout(RESPONSE_TIME_MAX)
            .build()
            .map_err(|error| self.request_fault(&error))
    }

    /// Describes an error without the address, which the caller adds.
    fn request_fault(&self, error: &reqwest::Error) -> RegistryFault {
        if error.is_timeout() {
            return RegistryFault::Transient(format!("no response in {} s", RESPONSE_TIME_MAX.as_secs()));
        }
        let mut cause = error.source();
        let mut innermost = None;
        while let Some(inner) = cause {
            if let Some(error) = inner.downcast_ref::<io::Error>() {
                let url = Url::parse(&self.spec.url).ok();
                let name = url.as_ref().and_then(Url::host_str).unwrap_or_default();
                if let Some(tls_error) = tls::to_tls_error(error, name) {
                    return RegistryFault::Permanent(format!("TLS: {tls_error}"));
                }
                innermost = Some(match error.kind() {
                    io::ErrorKind::ConnectionRefused => "connection refused".into(),
                    _ => error.to_string(),
                });
                break;
            }
            innermost = Some(inner.to_string());
            cause = inner.source();
        }
        RegistryFault::Transient(innermost.unwrap_or_else(|| error.to_string()))
    }

    /// Builds an address. Path parts may contain any character; the last one may begin with `?`.
    fn address(&self, path: &[&str]) -> Result<Url, RegistryFault> {
        let wrong = |why: String| RegistryFault::Permanent(format!("`registry` is not a URL: {why}"));
        let mut url = Url::parse(&self.spec.url).map_err(|error| wrong(error.to_string()))?;
        let (path, query) = match path.split_last() {
            Some((last, before)) if last.starts_with('?') => (before, Some(&last[1..])),
            _ => (path, None),
        };
        url.set_query(query);
        url.path_segments_mut().map_err(|()| wrong("it has no path".into()))?.pop_if_empty().extend(path);
        Ok(url)
    }
}

/// The beginning of what a registry said.
fn truncated(text: &str) -> String {
    let end = text.floor_char_boundary(SHOWN_BYTES_MAX);
    let more = if end < text.len() { "…" } else { "" };
    format!("{}{more}", text.get(..end).unwrap_or_default())
}
