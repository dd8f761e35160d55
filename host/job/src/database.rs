//! How a job names a database and a table in it.

use super::variables::{self, TextPiece};
#[cfg(feature = "postgres")]
use millstream_base::secrets;
use millstream_base::secrets::URL_TEXT;
#[cfg(feature = "postgres")]
use percent_encoding::percent_decode_str;
use percent_encoding::utf8_percent_encode;
#[cfg(feature = "postgres")]
use std::path::Path;
use std::path::PathBuf;
#[cfg(feature = "postgres")]
use std::str::FromStr;
#[cfg(feature = "postgres")]
use tokio_postgres::Config;
#[cfg(feature = "postgres")]
use tokio_postgres::config::SslMode;

/// Maximum size of a name in PostgreSQL, which would truncate a longer one.
pub const NAME_BYTES_MAX: usize = 63;
#[cfg(feature = "postgres")]
const MODES: [(&str, Mode); 5] = [
    ("disable", Mode::Disable),
    ("prefer", Mode::Prefer),
    ("require", Mode::Require),
    ("verify-ca", Mode::VerifyCa),
    ("verify-full", Mode::VerifyFull),
];
const URL_HELP: &str = "write it as \"postgres://user:${PGPASSWORD}@host/database\"";

/// Splits `table` or `schema.table`. PostgreSQL receives the parts in quotes, so that upper case and spaces matter.
pub fn table(text: &str) -> Result<(Option<&str>, &str), String> {
    let (schema, table) = match text.split_once('.') {
        None => (None, text),
        Some((schema, table)) => (Some(schema), table),
    };
    for name in schema.into_iter().chain([table]) {
        if name.is_empty() || name.contains(['.', '\0']) {
            return Err(format!("`table = \"{text}\"` is not a table; write it as \"counts\" or \"schema.counts\""));
        }
        if name.len() > NAME_BYTES_MAX {
            return Err(format!("`{name}` is longer than the {NAME_BYTES_MAX} bytes that a name has; shorten it"));
        }
    }
    Ok((schema, table))
}

/// Checks a URL, whatever the environment sets for its placeholders.
pub fn check_url(url: &str) -> Result<(), String> {
    if url.is_empty() {
        return Err(format!("`url` is empty; {URL_HELP}"));
    }
    // A number is valid in every name and port.
    let example = expand(url, |piece| match piece {
        TextPiece::Text(text) => Ok((*text).to_owned()),
        _ => Ok("1".into()),
    })?;
    if matches!(variables::pieces(url).as_deref(), Ok([TextPiece::Variable { .. } | TextPiece::File(_)])) {
        return Ok(());
    }
    // The options after the database must be one of some words, or a path.
    let known = match url.split_once('?') {
        Some((_, query)) if query.contains("${") => example.split('?').next().unwrap_or_default(),
        _ => &example,
    };
    parse(known).map(drop)
}

#[cfg(feature = "postgres")]
/// The address of a database, and its TLS settings.
pub struct Database {
    /// For the driver.
    pub config: Config,
    /// TLS.
    pub ssl: Ssl,
}

/// The TLS settings of a URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ssl {
    /// `sslmode`
    pub mode: Mode,
    /// `sslrootcert`: certificates of trusted CAs; `None`: the system trust store.
    pub ca: Option<PathBuf>,
    /// `sslcert` and `sslkey`
    pub own: Option<(PathBuf, PathBuf)>,
}

/// `sslmode`, with the names of PostgreSQL's own library.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// No TLS.
    Disable,
    /// TLS if the server supports it; its identity is not verified.
    #[default]
    Prefer,
    /// TLS; the server's identity is not verified, unless `sslrootcert` is set: then like `verify-ca`.
    Require,
    /// TLS with a server whose certificate was issued by a trusted CA.
    VerifyCa,
    /// Like `VerifyCa`, and the certificate must match the server's name.
    VerifyFull,
}

#[cfg(feature = "postgres")]
/// Returns the database of a URL, with the environment's values for its placeholders. These values and the password are hidden in all output from
/// then on.
pub fn config(url: &str) -> Result<Database, String> {
    let database = parse(&expand(url, |piece| variables::value(piece, Path::new("")))?)?;
    if let Some(password) = database.config.get_password().and_then(|password| std::str::from_utf8(password).ok()) {
        secrets::keep(password, "(password)");
    }
    Ok(database)
}

/// Errors in a URL are reported by the driver, which this build lacks.
#[cfg(not(feature = "postgres"))]
fn parse(_url: &str) -> Result<(), String> {
    Ok(())
}

#[cfg(feature = "postgres")]
/// Parses a URL as the driver does. The message does not repeat it, as it may contain a password.
fn parse(url: &str) -> Result<Database, String> {
    if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Err(format!("`url` is not that of a PostgreSQL database; {URL_HELP}"));
    }
    let (url, ssl) = ssl_of(url)?;
    let mut config = Config::from_str(&url).map_err(|e| format!("`url` cannot be read ({e}); {URL_HELP}"))?;
    config.ssl_mode(match ssl.mode {
        Mode::Disable => SslMode::Disable,
        Mode::Prefer => SslMode::Prefer,
        Mode::Require | Mode::VerifyCa | Mode::VerifyFull => SslMode::Require,
    });
    if config.get_hosts().is_empty() {
        return Err(format!("`url` names no host; {URL_HELP}"));
    }
    Ok(Database { config, ssl })
}

#[cfg(feature = "postgres")]
/// Extracts the TLS options from a URL, as the driver supports fewer of them.
fn ssl_of(url: &str) -> Result<(String, Ssl), String> {
    let mut ssl = Ssl::default();
    let Some((base, query)) = url.split_once('?') else { return Ok((url.to_owned(), ssl)) };
    let (mut cert, mut key, mut other_options) = (None, None, Vec::new());
    let (mut mode, mut of_system) = (None, false);
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let path = || match PathBuf::from(&*percent_decode_str(value).decode_utf8_lossy()) {
            path if path.is_absolute() => Ok(path),
            _ => Err(format!(
                "`{name}` of `url` must be an absolute path; write for example {name}=/etc/millstream/{name}.pem"
            )),
        };
        match name {
            "sslmode" => {
                let known = MODES.iter().find(|(word, _)| *word == value).map(|(_, mode)| *mode);
                mode = Some(known.ok_or_else(|| {
                    let names: Vec<_> = MODES.iter().map(|(word, _)| *word).collect();
                    format!("`sslmode` of `url` is unknown; write one of {}", names.join(", "))
                })?);
            }
            "sslrootcert" if value == "system" => of_system = true,
            "sslrootcert" => ssl.ca = Some(path()?),
            "sslcert" => cert = Some(path()?),
            "sslkey" => key = Some(path()?),
            _ => other_options.push(pair),
        }
    }
    ssl.mode = match (mode, of_system) {
        (Some(mode), false) => mode,
        (None, false) => ssl.mode,
        // Like PostgreSQL's own library: the system trusts so many CAs that the name must be verified.
        (None | Some(Mode::VerifyFull), true) => Mode::VerifyFull,
        (Some(_), true) => {
            return Err(
                "`sslrootcert=system` of `url` needs sslmode=verify-full; write that, or name a certificate file"
                    .into(),
            );
        }
    };
    ssl.own = match (cert, key) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        _ => return Err("`url` has one of `sslcert` and `sslkey`; write both, or none".into()),
    };
    let rest = if other_options.is_empty() { String::new() } else { format!("?{}", other_options.join("&")) };
    Ok((format!("{base}{rest}"), ssl))
}

/// Replaces the placeholders of a URL by values. In user and password, values are escaped for URLs, so that they may contain any character.
pub(super) fn expand(url: &str, value_of: impl Fn(&TextPiece<'_>) -> Result<String, String>) -> Result<String, String> {
    let in_url = |message: String| format!("`url` {message}");
    let pieces = variables::pieces(url).map_err(in_url)?;
    let login_end = login_end(&pieces);
    let mut expanded = String::new();
    for (number, piece) in pieces.iter().enumerate() {
        let value = value_of(piece).map_err(in_url)?;
        match piece {
            TextPiece::Text(_) => expanded.push_str(&value),
            _ if number < login_end => expanded.extend(utf8_percent_encode(&value, URL_TEXT)),
            _ => expanded.push_str(&value),
        }
    }
    Ok(expanded)
}

/// Returns the number of pieces of user and password, up to the last `@` before host and database; zero if there are none.
fn login_end(pieces: &[TextPiece<'_>]) -> usize {
    let mut begun = false;
    let mut end = 0;
    for (number, piece) in pieces.iter().enumerate() {
        let TextPiece::Text(mut text) = *piece else { continue };
        if !begun {
            let Some(at) = text.find("://") else { continue };
            (begun, text) = (true, &text[at + 3..]);
        }
        let host_ends = text.find(['/', '?']);
        if text[..host_ends.unwrap_or(text.len())].contains('@') {
            end = number;
        }
        if host_ends.is_some() {
            break;
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced_and_passwords_may_hold_anything() {
        let value_of = |piece: &TextPiece<'_>| match piece {
            TextPiece::Text(text) => Ok((*text).to_string()),
            TextPiece::Variable { name: "PW", .. } => Ok("p@/:ss%".to_string()),
            TextPiece::Variable { name: "HOST", .. } => Ok("db:5433".to_string()),
            other => variables::value(other, Path::new("")),
        };
        let url = expand("postgres://me:${PW}@${HOST}/a", value_of).unwrap();
        assert_eq!(url, "postgres://me:p%40%2F%3Ass%25@db:5433/a");
        let config = parse(&url).unwrap().config;
        assert_eq!(config.get_password(), Some("p@/:ss%".as_bytes()));
        assert_eq!(config.get_ports(), [5433]);
        assert_eq!(expand("${HOST}", value_of).unwrap(), "db:5433");
        assert_eq!(expand("postgres://${HOST}/a?x=@${PW}", value_of).unwrap(), "postgres://db:5433/a?x=@p@/:ss%");
        assert!(expand("postgres://${NO_SUCH}@h/a", value_of).unwrap_err().contains("`NO_SUCH`, which is not set"));
        assert!(expand("postgres://${@h/a", value_of).unwrap_err().contains("without a closing `}`"));
        check_url("postgres://${U}:${P}@${H}:${PORT}/${DB}").unwrap();
        check_url("${DATABASE_URL}").unwrap();
    }

    #[test]
    fn what_a_url_says_of_tls_is_as_psql_takes_it() {
        let of = |more: &str| parse(&format!("postgres://me@h/a{more}"));
        assert_eq!(of("").unwrap().ssl, Ssl::default());
        let found = of("?sslmode=verify-full&connect_timeout=3&sslrootcert=%2Fa%20b/c.pem").unwrap();
        assert_eq!((found.ssl.mode, found.ssl.ca), (Mode::VerifyFull, Some("/a b/c.pem".into())));
        assert!(found.config.get_connect_timeout().is_some() && found.config.get_ssl_mode() == SslMode::Require);
        let of_system = of("?sslrootcert=system").unwrap().ssl;
        assert_eq!((of_system.ca, of_system.mode), (None, Mode::VerifyFull));
        let weaker = of("?sslmode=require&sslrootcert=system").err().unwrap();
        assert!(weaker.contains("needs sslmode=verify-full"), "{weaker}");
        let own = of("?sslcert=/c&sslkey=/k").unwrap().ssl.own;
        assert_eq!(own, Some(("/c".into(), "/k".into())));
        for wrong in ["?sslmode=allow", "?sslmode=", "?sslrootcert=c.pem", "?sslcert=/c", "?nonsense=1"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn tables_have_a_name_and_perhaps_a_schema() {
        assert_eq!(table("Odd name"), Ok((None, "Odd name")));
        assert_eq!(table("a.b"), Ok((Some("a"), "b")));
        for wrong in ["", ".", "a.", ".b", "a.b.c", "a\0", &"x".repeat(64)] {
            assert!(table(wrong).is_err(), "{wrong}");
        }
    }
}
