//! Settings of sinks of kind `clickhouse`.

use crate::http::sink::settings::HttpWrites;
use std::fmt;

/// The table, and how rows come into it.
#[derive(Clone, PartialEq)]
pub struct ClickhouseWrites {
    /// `table` or `database.table`
    pub table: String,
    /// Who the job is; `None`: the server's default user.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<String>,
    /// Whether a table is wanted that tells repeated rows; else rows may come again after a crash.
    pub exactly_once: bool,
    /// How requests are made. The URL is that of the server's HTTP interface: `https://host:8443`.
    pub requests: HttpWrites,
}

impl ClickhouseWrites {
    /// Rows into this table of the server at this URL.
    pub fn new(url: impl Into<String>, table: impl Into<String>) -> ClickhouseWrites {
        ClickhouseWrites {
            table: table.into(),
            user: None,
            password: None,
            exactly_once: true,
            requests: HttpWrites::new(url),
        }
    }

    /// The requests that bring its rows, to this address.
    pub fn requests(&self, url: String) -> HttpWrites {
        let header = |name: &str, value: &Option<String>| Some((name.to_owned(), value.clone()?));
        let headers = [header("X-ClickHouse-User", &self.user), header("X-ClickHouse-Key", &self.password)];
        HttpWrites { url, headers: headers.into_iter().flatten().collect(), ..self.requests.clone() }
    }
}

impl fmt::Debug for ClickhouseWrites {
    /// Without the password, and the URL, which may hold one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClickhouseWrites").field("table", &self.table).field("user", &self.user).finish_non_exhaustive()
    }
}
