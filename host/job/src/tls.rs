//! TLS with the server of a source: `tls = true`, or a table.

use crate::keys::{self, TableKey};
use crate::spec::TlsSpec;
use crate::table::Reader;
use toml::Value;

const EXAMPLE: &str = "tls = true, or tls = { ca = \"ca.pem\" }";

/// Reads `tls`; `None`: plain TCP.
pub(crate) fn read(r: &Reader<'_>) -> Option<TlsSpec> {
    read_with(r, keys::TLS_KEYS)
}

/// Like [`read`], with these keys in the table.
pub(crate) fn read_with(r: &Reader<'_>, keys: &[TableKey]) -> Option<TlsSpec> {
    match r.table.get("tls")? {
        Value::Boolean(wanted) => wanted.then(TlsSpec::default),
        Value::Table(_) => {
            let inner = r.inner("tls", EXAMPLE)?;
            inner.check_keys(keys, &[], None);
            let path = |key| inner.path(key, &format!("{key} = \"{key}.pem\""));
            let own = match (path("cert"), path("key")) {
                (Some(cert), Some(key)) => Some((cert, key)),
                (None, None) => None,
                (cert, _) => {
                    let (is, not) = if cert.is_some() { ("cert", "key") } else { ("key", "cert") };
                    if !inner.has(not) {
                        inner.wrong(is, format!("`tls.{is}` needs `tls.{not}`; write both, or none"));
                    }
                    None
                }
            };
            Some(TlsSpec {
                ca: path("ca"),
                own,
                name: inner.text("name", "name = \"feed.example.org\"").map(str::to_owned),
            })
        }
        other => {
            r.wrong_type("tls", other, "true or a table", EXAMPLE);
            None
        }
    }
}
