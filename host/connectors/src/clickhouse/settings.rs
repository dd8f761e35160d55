//! Settings of `clickhouse` sinks.

use crate::http::sink::settings::HttpWrites;
use std::fmt;

/// Settings of a sink: the table, and how rows are inserted.
#[derive(Clone, PartialEq)]
pub struct ClickhouseWrites {
    /// `table` or `database.table`
    pub table: String,
    /// The user; `None`: the server's default user.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<String>,
    /// Whether the table must deduplicate inserts; otherwise rows may be duplicated after a crash.
    pub exactly_once: bool,
    /// Settings of requests. The URL is that of the server's HTTP interface: `https://host:8443`.
    pub requests: HttpWrites,
}

impl ClickhouseWrites {
    /// Returns settings that write rows to this table of the server at this URL.
    pub fn new(url: impl Into<String>, table: impl Into<String>) -> ClickhouseWrites {
        ClickhouseWrites {
            table: table.into(),
            user: None,
            password: None,
            exactly_once: true,
            requests: HttpWrites::new(url),
        }
    }

    /// Returns the settings of insert requests to this URL.
    pub fn requests(&self, url: String) -> HttpWrites {
        let header = |name: &str, value: &Option<String>| Some((name.to_owned(), value.clone()?));
        let headers = [header("X-ClickHouse-User", &self.user), header("X-ClickHouse-Key", &self.password)];
        HttpWrites { url, headers: headers.into_iter().flatten().collect(), ..self.requests.clone() }
    }
}

impl fmt::Debug for ClickhouseWrites {
    /// Omits the password, and the URL, which may contain one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClickhouseWrites").field("table", &self.table).field("user", &self.user).finish_non_exhaustive()
    }
}
