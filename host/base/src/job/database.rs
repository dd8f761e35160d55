//! How a job names a database and a table in it.

use std::str::FromStr;

/// Bytes of a name in PostgreSQL; it would cut a longer one.
const NAME_BYTES_MAX: usize = 63;
const URL_HELP: &str = "write it as \"postgres://user:${PGPASSWORD}@host/database\"";

/// The parts of `table` or `schema.table`, as they are: PostgreSQL is given them in quotes, so that capital letters and
/// spaces count.
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

/// Whether a URL is one, whatever the environment gives for its placeholders.
pub(super) fn check_url(url: &str) -> Result<(), String> {
    if url.is_empty() {
        return Err(format!("`url` is empty; {URL_HELP}"));
    }
    // A number fits wherever a name or a port may stand.
    let example = expand(url, |_| Some("1".into()))?;
    if whole_placeholder(url).is_some() {
        return Ok(());
    }
    parse(&example).map(drop)
}

/// A URL as the driver takes it. The message does not repeat it, as there may be a password in it.
pub fn parse(url: &str) -> Result<tokio_postgres::Config, String> {
    if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Err(format!("`url` is not that of a PostgreSQL database; {URL_HELP}"));
    }
    let config =
        tokio_postgres::Config::from_str(url).map_err(|e| format!("`url` cannot be read ({e}); {URL_HELP}"))?;
    if config.get_hosts().is_empty() {
        return Err(format!("`url` names no host; {URL_HELP}"));
    }
    Ok(config)
}

/// A URL with the values of the environment variables that it names as `${NAME}`. Where a user and a password stand,
/// they are escaped as URLs need it, so that they may hold any character.
pub fn expand(url: &str, value_of: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let login_end = login_end(url);
    let mut whole = String::new();
    let mut rest = url;
    while let Some((before, behind)) = rest.split_once("${") {
        whole.push_str(before);
        let (name, behind) = behind.split_once('}').unwrap_or(("", behind));
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err("`url` has `${` without the name of an environment variable; write it as ${PGPASSWORD}".into());
        }
        let value = value_of(name).ok_or_else(|| {
            format!("`url` needs the environment variable `{name}`, which is not set (or is not text); set it")
        })?;
        if url.len() - behind.len() <= login_end {
            escape(&mut whole, &value);
        } else {
            whole.push_str(&value);
        }
        rest = behind;
    }
    whole.push_str(rest);
    Ok(whole)
}

/// The name of the variable that is the whole URL.
fn whole_placeholder(url: &str) -> Option<&str> {
    url.strip_prefix("${")?.strip_suffix('}').filter(|name| !name.contains("${"))
}

/// Where user and password end: at the `@` before host and database; zero where there are none.
fn login_end(url: &str) -> usize {
    let Some(start) = url.find("://").map(|at| at + 3) else { return 0 };
    let end = url[start..].find(['/', '?']).map_or(url.len(), |at| start + at);
    url[start..end].rfind('@').map_or(0, |at| start + at)
}

/// Percent-encodes all but letters, digits and a few marks.
fn escape(out: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced_and_passwords_may_hold_anything() {
        let value_of = |name: &str| match name {
            "PW" => Some("p@/:ss%".to_string()),
            "HOST" => Some("db:5433".to_string()),
            _ => None,
        };
        let url = expand("postgres://me:${PW}@${HOST}/a", value_of).unwrap();
        assert_eq!(url, "postgres://me:p%40%2F%3Ass%25@db:5433/a");
        let config = parse(&url).unwrap();
        assert_eq!(config.get_password(), Some("p@/:ss%".as_bytes()));
        assert_eq!(config.get_ports(), [5433]);
        assert_eq!(expand("${HOST}", value_of).unwrap(), "db:5433");
        assert!(expand("postgres://${NO}@h/a", value_of).unwrap_err().contains("variable `NO`, which is not set"));
        assert!(expand("postgres://${@h/a", value_of).unwrap_err().contains("without the name"));
        check_url("postgres://${U}:${P}@${H}:${PORT}/${DB}").unwrap();
        check_url("${DATABASE_URL}").unwrap();
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
