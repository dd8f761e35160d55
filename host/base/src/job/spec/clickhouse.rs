//! A sink that writes into a table of ClickHouse.

use super::{HttpBody, HttpSinkSpec, TlsSpec};
use std::fmt;
use std::time::Duration;

/// What a `clickhouse` sink writes, and where.
#[derive(Clone, PartialEq)]
pub struct ClickhouseSinkSpec {
    /// The server's HTTP interface: `https://host:8443`; `${NAME}` stands for an environment variable.
    pub url: String,
    /// `table` or `database.table`
    pub table: String,
    /// Who the job is; `None`: the server's default user.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<String>,
    /// Whether a table is wanted that tells repeated rows; else rows may come again after a crash.
    pub exactly_once: bool,
    /// How a server with https is spoken to; `None`: it is checked by what the system trusts.
    pub tls: Option<TlsSpec>,
    /// Most rows of a request.
    pub rows_per_request_max: u64,
    /// Most bytes of rows of a request; one row at least.
    pub request_bytes_max: u64,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How long the job waits for a server that is away.
    pub wait: Duration,
}

impl ClickhouseSinkSpec {
    /// Rows into this table of the server at this URL.
    pub fn new(url: impl Into<String>, table: impl Into<String>) -> ClickhouseSinkSpec {
        let usual = HttpSinkSpec::new(url);
        ClickhouseSinkSpec {
            url: usual.url,
            table: table.into(),
            user: None,
            password: None,
            exactly_once: true,
            tls: None,
            rows_per_request_max: usual.rows_per_request_max,
            request_bytes_max: usual.request_bytes_max,
            timeout: usual.timeout,
            wait: usual.wait,
        }
    }

    /// The requests that bring its rows, to this address.
    pub fn requests(&self, url: String) -> HttpSinkSpec {
        let header = |name: &str, value: &Option<String>| Some((name.to_owned(), value.clone()?));
        let headers = [header("X-ClickHouse-User", &self.user), header("X-ClickHouse-Key", &self.password)];
        HttpSinkSpec {
            body: HttpBody::Lines,
            headers: headers.into_iter().flatten().collect(),
            tls: self.tls.clone(),
            rows_per_request_max: self.rows_per_request_max,
            request_bytes_max: self.request_bytes_max,
            timeout: self.timeout,
            wait: self.wait,
            ..HttpSinkSpec::new(url)
        }
    }
}

impl fmt::Debug for ClickhouseSinkSpec {
    /// Without the password, and the URL, which may hold one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClickhouseSinkSpec")
            .field("table", &self.table)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}
