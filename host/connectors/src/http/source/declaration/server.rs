//! Declaration of `http` sources that receive requests.

use super::client::CLIENT_KEYS;
use crate::http::source::server;
use crate::http::source::settings::ServerReads;
use crate::limits::HTTP_PRODUCERS_MAX_MAX;
use millstream_base::error::Result;
use millstream_base::{limits, units};
use millstream_connect::receiver::listening::check_certificate;
use millstream_job::spec::{Origin, SourceConfig, SourceSpec, SourceStart};
use millstream_job::table::Reader;
use millstream_job::{PartErrors, parts};
use millstream_rows::decode::spec::RecordBounds;
use std::time::Duration;

/// Maximum of `request_time_max`.
const REQUEST_TIME_MAX_MAX: Duration = Duration::from_secs(3600);

impl ServerReads {
    pub(super) fn read(r: &Reader<'_>) -> ServerReads {
        let example = "listen = \"127.0.0.1:8080\"";
        r.need(
            "listen",
            &format!("{example} to receive POST requests, or url = \"https://host/path\" to read from a server"),
        );
        for key in CLIENT_KEYS.iter().filter(|key| r.has(key)) {
            r.wrong(
                key,
                format!(
                    "`{key}` is for a source that reads from a server; remove it, or write `url` instead of `listen`"
                ),
            );
        }
        let mut reads = ServerReads::new(r.text("listen", example).unwrap_or_default());
        reads.read_limits(r);
        let producers = r.integer("producers_max", 1, HTTP_PRODUCERS_MAX_MAX);
        reads.producers_max = producers.unwrap_or(reads.producers_max);
        reads
    }

    /// Reads the keys that all sources share that receive requests.
    pub fn read_limits(&mut self, r: &Reader<'_>) {
        self.spread = r.flag("spread").unwrap_or(false);
        self.token = r.text("token", "token = \"${NAME}\"").map(str::to_owned);
        self.request_bytes_max = r.size("request_bytes_max", 1, limits::HTTP_REQUEST_BYTES_MAX_MAX);
        self.request_time_max = r.time("request_time_max").unwrap_or(self.request_time_max);
        let connections = r.integer("connections_max", 1, limits::HTTP_CONNECTIONS_MAX_MAX);
        self.connections_max = connections.unwrap_or(self.connections_max);
    }

    /// Notes errors in the settings.
    pub fn check(&self, source: &SourceSpec, part: &PartErrors<'_>) {
        parts::address("listen", &self.listen, part);
        if let Some(token) = &self.token {
            parts::token(token, part);
        }
        if let Some(bytes) = self.request_bytes_max.filter(|bytes| *bytes > source.bytes_per_batch_max) {
            let max = source.bytes_per_batch_max;
            let message = format!(
                "`request_bytes_max` is {bytes}, more than `bytes_per_batch_max`, {max}: one batch takes a complete \
                 request; lower it, or raise `bytes_per_batch_max`"
            );
            part.wrong(part.existing_path(["request_bytes_max", "bytes_per_batch_max"]), message);
        }
        if self.request_time_max.is_zero() || self.request_time_max > REQUEST_TIME_MAX_MAX {
            let time = units::show_time(self.request_time_max);
            part.wrong("request_time_max", format!("`request_time_max` is {time}; write a time from 1ms to 1h"));
        }
        source.tls.iter().for_each(|tls| parts::server_certificate(tls, part));
    }
}

impl SourceConfig for ServerReads {
    fn kind(&self) -> &'static str {
        super::KIND
    }

    fn check(&self, source: &SourceSpec, part: &PartErrors<'_>) {
        ServerReads::check(self, source, part);
    }

    fn promise(&self) -> Option<&'static str> {
        Some("exactly once for senders that number their requests; at least once for other senders that retry")
    }

    fn bounds(&self) -> RecordBounds {
        RecordBounds::Body
    }

    fn is_spread(&self) -> bool {
        self.spread
    }

    /// The address does not matter, as the same senders would connect to another one.
    fn identity<'a>(&'a self, _written: &dyn Fn(&str) -> Option<&'a str>) -> String {
        "http server".to_owned()
    }

    fn check_start(&self, source: &SourceSpec, origin: &Origin) -> Result<()> {
        check_certificate(source, origin)
    }

    fn start(&self, start: SourceStart<'_>) -> Result<()> {
        server::start(self, None, &start)
    }
}
