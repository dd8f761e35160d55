//! A registry of schemas, as Confluent's is: what it is asked, and what its answers mean.

use crate::tls::{self, Tls};
use bytes::{Bytes, BytesMut};
use millstream_base::job::spec::{RegistrySpec, TlsSpec};
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

/// How long an answer may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// Bytes of an answer: a schema as a text of JSON.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// Schemas that one refers to, those included that these refer to.
const REFERENCES_MAX: usize = 1_000;
/// Bytes of what a registry says of an error that are shown.
const SHOWN_BYTES_MAX: usize = 1_000;
/// What it has no schema for, or not this one.
const UNKNOWN: [StatusCode; 2] = [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED];

/// A registry.
pub struct SchemaRegistry {
    spec: RegistrySpec,
    folder: PathBuf,
}

/// Why a registry gave no answer, or none that is of use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistryFault {
    /// It is away.
    Passing(String),
    /// Asking again does not help.
    Lasting(String),
    /// It does not take the schema.
    Refused(String),
}

impl fmt::Display for RegistryFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (RegistryFault::Passing(words) | RegistryFault::Lasting(words) | RegistryFault::Refused(words)) = self;
        f.write_str(words)
    }
}

/// A schema, as a registry tells it.
#[derive(Deserialize)]
struct RegisteredSchema {
    schema: String,
    #[serde(rename = "schemaType")]
    kind: Option<String>,
    #[serde(default)]
    references: Vec<Reference>,
}

/// Another schema of the registry, of which types are used.
#[derive(Deserialize)]
struct Reference {
    subject: String,
    version: i64,
}

/// A schema as somebody registers it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewSchema {
    /// The schema: that of Avro, or a file of definitions of Protobuf.
    pub text: String,
    /// The kind, where it is none of Avro: `PROTOBUF`.
    pub kind: Option<&'static str>,
    /// Others that it needs: by which name, and the subject and version under which the registry has them.
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

/// The id and version that a registry has given to a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct SchemaId {
    /// Its id, by which records name it.
    pub id: u32,
    /// Its version under the name that was asked for.
    #[serde(default)]
    pub version: i64,
}

#[derive(Deserialize)]
struct Registered {
    id: u32,
}

#[derive(Deserialize)]
struct Compatibility {
    is_compatible: bool,
    /// Why not, as Confluent's registry says it, and as Apicurio's does.
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
    /// Paths start from this folder.
    pub fn new(spec: &RegistrySpec, folder: &Path) -> SchemaRegistry {
        SchemaRegistry { spec: spec.clone(), folder: folder.to_owned() }
    }

    /// The schema of an id, with all that it refers to. `None`: the registry knows none.
    pub async fn schema(&self, id: u32) -> Result<Option<Bytes>, RegistryFault> {
        let (status, body) = self.ask(Method::GET, &["schemas", "ids", &id.to_string()], None).await?;
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let told: RegisteredSchema = self.read(status, &body)?;
        Ok(Some(match told.kind.as_deref() {
            None | Some("AVRO") if told.references.is_empty() => Bytes::from(told.schema),
            None | Some("AVRO") => self.with_references(told).await?,
            // No schema of Avro, and so refused with its name.
            Some(other) => Bytes::from(format!("{other}: not a schema of Avro")),
        }))
    }

    /// A schema behind those that it refers to, each behind those that it refers to itself.
    async fn with_references(&self, told: RegisteredSchema) -> Result<Bytes, RegistryFault> {
        // What is to be done, the last first: to ask for a reference, or to note a schema whose references are noted.
        enum Next {
            Ask(Reference),
            Note(String),
        }
        let mut seen = HashSet::new();
        let mut schemas = Vec::new();
        let mut bytes = told.schema.len();
        let mut next: Vec<Next> = vec![Next::Note(told.schema)];
        next.extend(told.references.into_iter().rev().map(Next::Ask));
        while let Some(step) = next.pop() {
            let reference = match step {
                Next::Note(schema) => {
                    let broken = |error| RegistryFault::Lasting(format!("one of its schemas is not JSON: {error}"));
                    schemas.push(serde_json::from_str::<Value>(&schema).map_err(broken)?);
                    continue;
                }
                Next::Ask(reference) => reference,
            };
            let Reference { subject, version } = reference;
            if !seen.insert((subject.clone(), version)) {
                continue;
            }
            if seen.len() > REFERENCES_MAX {
                return Err(RegistryFault::Lasting(format!("it refers to more than {REFERENCES_MAX} schemas")));
            }
            let path = ["subjects", &subject, "versions", &version.to_string()];
            let (status, body) = self.ask(Method::GET, &path, None).await?;
            let told: RegisteredSchema = self.read(status, &body)?;
            bytes += told.schema.len();
            if bytes > ANSWER_BYTES_MAX {
                let most = ANSWER_BYTES_MAX;
                return Err(RegistryFault::Lasting(format!("it refers to schemas of more than {most} bytes together")));
            }
            next.push(Next::Note(told.schema));
            next.extend(told.references.into_iter().rev().map(Next::Ask));
        }
        let schema = schemas.pop();
        Ok(Bytes::from(json!({ "with": schemas, "schema": schema }).to_string()))
    }

    /// The id of a schema under this name, which is registered where it is not there.
    pub async fn register(&self, subject: &str, schema: &NewSchema) -> Result<u32, RegistryFault> {
        let asked = Some(schema.body());
        let (status, body) = self.ask(Method::POST, &["subjects", subject, "versions"], asked).await?;
        self.read::<Registered>(status, &body).map(|found| found.id)
    }

    /// Where a schema is under this name. `None`: it is not there.
    pub async fn look_up(&self, subject: &str, schema: &NewSchema) -> Result<Option<SchemaId>, RegistryFault> {
        let (status, body) = self.ask(Method::POST, &["subjects", subject], Some(schema.body())).await?;
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        self.read(status, &body).map(Some)
    }

    /// Why this schema cannot follow the one that the registry has under this name. `None`: it can, or nobody can tell before it
    /// is tried.
    pub async fn incompatible(&self, subject: &str, schema: &NewSchema) -> Result<Option<String>, RegistryFault> {
        let path = ["compatibility", "subjects", subject, "versions", "latest", "?verbose=true"];
        let (status, body) = self.ask(Method::POST, &path, Some(schema.body())).await?;
        if UNKNOWN.contains(&status) {
            return Ok(None);
        }
        let found: Compatibility = self.read(status, &body)?;
        let said: Vec<String> = found.messages.into_iter().chain(found.reason).collect();
        let why = if said.is_empty() { "it does not say why".to_owned() } else { said.join("; ") };
        Ok((!found.is_compatible).then(|| cut(&why)))
    }

    /// What an answer says, where it is one of success.
    fn read<T: for<'a> Deserialize<'a>>(&self, status: StatusCode, body: &[u8]) -> Result<T, RegistryFault> {
        if !status.is_success() {
            let said = serde_json::from_slice::<ErrorBody>(body).unwrap_or_default().message;
            let said = if said.is_empty() { String::new() } else { format!(": {}", cut(&said)) };
            let kind = match status {
                StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY => RegistryFault::Refused,
                _ => RegistryFault::Lasting,
            };
            return Err(kind(format!("it answers {status}{said}")));
        }
        let foreign = |error| RegistryFault::Lasting(format!("its answer is not that of a schema registry: {error}"));
        serde_json::from_slice(body).map_err(foreign)
    }

    /// One question; what says that the registry is away is an error.
    async fn ask(
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
        let mut response = request.send().await.map_err(|error| self.story(&error))?;
        let status = response.status();
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            let words = "authentication failed; check `user` and `password`, or `token`, of `registry`";
            return Err(RegistryFault::Lasting(words.into()));
        }
        if status.is_server_error() || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT) {
            return Err(RegistryFault::Passing(format!("it answers {status}")));
        }
        let mut body = BytesMut::new();
        while let Some(more) = response.chunk().await.map_err(|error| self.story(&error))? {
            if body.len() + more.len() > ANSWER_BYTES_MAX {
                return Err(RegistryFault::Lasting(format!("its answer is longer than {ANSWER_BYTES_MAX} bytes")));
            }
            body.extend_from_slice(&more);
        }
        Ok((status, body.freeze()))
    }

    /// Certificates may be renewed while the job runs, and questions are few.
    fn client(&self) -> Result<Client, RegistryFault> {
        let tls = TlsSpec { ca: self.spec.ca.clone(), ..TlsSpec::default() };
        let config = Tls::of(&tls, &self.folder).config().map_err(|refusal| RegistryFault::Lasting(refusal.0))?;
        let client = Client::builder().tls_backend_preconfigured((*config).clone());
        client.no_proxy().redirect(Policy::none()).timeout(ANSWER_TIME_MAX).build().map_err(|error| self.story(&error))
    }

    /// What went wrong, without the address, which is told beside it.
    fn story(&self, error: &reqwest::Error) -> RegistryFault {
        if error.is_timeout() {
            return RegistryFault::Passing(format!("no response in {} s", ANSWER_TIME_MAX.as_secs()));
        }
        let mut cause = error.source();
        let mut innermost = None;
        while let Some(inner) = cause {
            if let Some(error) = inner.downcast_ref::<io::Error>() {
                let url = Url::parse(&self.spec.url).ok();
                let name = url.as_ref().and_then(Url::host_str).unwrap_or_default();
                if let Some(refusal) = tls::refused(error, name) {
                    return RegistryFault::Lasting(format!("TLS: {refusal}"));
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
        RegistryFault::Passing(innermost.unwrap_or_else(|| error.to_string()))
    }

    /// Parts of a path may hold any letter; the last one may begin with `?`.
    fn address(&self, path: &[&str]) -> Result<Url, RegistryFault> {
        let wrong = |why: String| RegistryFault::Lasting(format!("`registry` is not a URL: {why}"));
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
fn cut(words: &str) -> String {
    let end = words.floor_char_boundary(SHOWN_BYTES_MAX);
    let more = if end < words.len() { "…" } else { "" };
    format!("{}{more}", words.get(..end).unwrap_or_default())
}
