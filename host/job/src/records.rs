//! The keys of a source whose records have a schema of their own: Avro and Protobuf.

use crate::keys::{self, TableKey};
use crate::spec::SubjectSpec;
use crate::table::Reader;
use bytes::Bytes;
use millstream_base::built;
use millstream_base::limits::{SCHEMA_FILE_BYTES_MAX, SERVER_WAIT_MS};
use millstream_rows::formats::{FileContent, ProtobufSpec, RegistrySpec, WriterSchema};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Value;

pub(crate) const REGISTRY: &str = "registry = \"http://127.0.0.1:8081\"";

/// Reads the location of the schemas of Avro records.
pub(crate) fn avro(r: &Reader<'_>, dir: &Path) -> WriterSchema {
    if r.has("registry") && r.has("schema_file") {
        r.wrong("schema_file", "`schema_file` has no effect if `registry` has the schemas; remove one of them");
    }
    if let Some(registry) = registry(r, keys::REGISTRY_KEYS) {
        return WriterSchema::Registry(Box::new(registry));
    }
    match content("schema_file", "schema_file = \"order.avsc\"", r, dir) {
        Some(schema) => WriterSchema::Given(schema),
        None => WriterSchema::InFile,
    }
}

/// Reads the location of a sink's schema.
pub(crate) fn subject(r: &Reader<'_>) -> Option<SubjectSpec> {
    let subject = SubjectSpec::new(registry(r, keys::SUBJECT)?);
    if !matches!(r.table.get("registry"), Some(Value::Table(_))) {
        return Some(subject);
    }
    let inner = r.inner("registry", REGISTRY)?;
    Some(SubjectSpec {
        subject: inner.text("subject", "subject = \"orders-value\"").map(str::to_owned),
        record: inner.text("record", "record = \"shop.Order\"").map_or(subject.record, str::to_owned),
        register: inner.flag("register").unwrap_or(true),
        ..subject
    })
}

fn registry(r: &Reader<'_>, known: &[TableKey]) -> Option<RegistrySpec> {
    if r.has("registry") && !cfg!(feature = "kafka") {
        r.wrong("registry", built::absent("a schema registry", "kafka"));
        return None;
    }
    let plain = |url: &str| RegistrySpec {
        url: url.to_owned(),
        login: None,
        ca: None,
        wait: Duration::from_millis(SERVER_WAIT_MS),
    };
    match r.table.get("registry")? {
        Value::String(_) => r.text("registry", REGISTRY).map(plain),
        Value::Table(_) => {
            let inner = r.inner("registry", REGISTRY)?;
            inner.check_keys(known, &[], None);
            inner.need("url", "url = \"http://127.0.0.1:8081\"");
            let text = |key: &str| inner.text(key, &format!("{key} = \"${{{}}}\"", key.to_uppercase()));
            let login = match (text("user"), text("password"), text("token")) {
                (None, None, None) => None,
                (Some(user), password, None) => Some((user.to_owned(), password.unwrap_or_default().to_owned())),
                (None, None, Some(token)) => Some((String::new(), token.to_owned())),
                (None, Some(_), _) => {
                    inner.wrong("password", "`registry.password` needs `registry.user`; write both");
                    None
                }
                (Some(_), _, Some(_)) => {
                    inner.wrong("token", "`registry` has a `user` and a `token`; remove one of them");
                    None
                }
            };
            let url = inner.text("url", "url = \"http://127.0.0.1:8081\"")?;
            Some(RegistrySpec {
                login,
                ca: inner.path("ca", "ca = \"ca.pem\""),
                wait: inner.time("wait").unwrap_or(Duration::from_millis(SERVER_WAIT_MS)),
                ..plain(url)
            })
        }
        other => {
            r.wrong_type("registry", other, "an address or a table", REGISTRY);
            None
        }
    }
}

/// Reads the messages of Protobuf records.
pub(crate) fn protobuf(r: &Reader<'_>, dir: &Path) -> ProtobufSpec {
    r.need(
        "descriptor",
        "descriptor = \"orders.pb\", which `protoc --include_imports --descriptor_set_out=orders.pb` makes",
    );
    r.need("message", "message = \"shop.Order\"");
    let none = || FileContent { path: PathBuf::new(), content: Bytes::new() };
    ProtobufSpec {
        descriptor: content("descriptor", "descriptor = \"orders.pb\"", r, dir).unwrap_or_else(none),
        message: r.text("message", "message = \"shop.Order\"").unwrap_or_default().trim_start_matches('.').to_owned(),
        confluent: r.flag("confluent").unwrap_or(false),
    }
}

/// Returns the content of the file that a key names.
fn content(key: &str, example: &str, r: &Reader<'_>, dir: &Path) -> Option<FileContent> {
    let path = r.path(key, example)?;
    let file = dir.join(&path);
    let mut content = Vec::new();
    let read = millstream_base::regular::open(&file)
        .and_then(|file| file.take(SCHEMA_FILE_BYTES_MAX + 1).read_to_end(&mut content));
    match read {
        Err(error) => {
            let why = format!(
                "`{key}`: `{}` cannot be read: {error}; paths start from the job file's directory",
                file.display()
            );
            r.wrong(key, why);
            None
        }
        Ok(_) if content.len() as u64 > SCHEMA_FILE_BYTES_MAX => {
            r.wrong(key, format!("`{key}`: `{}` is longer than {SCHEMA_FILE_BYTES_MAX} bytes", file.display()));
            None
        }
        Ok(_) => Some(FileContent { path, content: content.into() }),
    }
}
