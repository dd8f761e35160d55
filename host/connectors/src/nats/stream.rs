//! Streams of JetStream: what is known of one, and which subjects it takes.

use super::{ApiError, Connection, Fault};
use serde::Deserialize;
use serde_json::json;

/// What is known of a stream.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Stream {
    /// When it was made: another stream of the same name was made at another time.
    pub created: String,
    pub config: Config,
    pub state: State,
}

/// How it was made.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Config {
    pub subjects: Vec<String>,
    /// `limits`, `interest` or `workqueue`.
    pub retention: String,
    pub max_msgs_per_subject: i64,
    pub sealed: bool,
    pub mirror: Option<serde::de::IgnoredAny>,
    pub allow_atomic: bool,
    pub allow_rollup_hdrs: bool,
    pub deny_purge: bool,
    pub allow_msg_ttl: bool,
}

/// What it holds.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct State {
    /// The sequence of the oldest message; of an empty one that of the next.
    pub first_seq: u64,
    pub last_seq: u64,
}

impl Stream {
    /// What is known of this stream; `None`: it is not there.
    pub fn find(connection: &mut Connection, name: &str) -> Result<Option<Stream>, Fault> {
        match connection.ask(&format!("$JS.API.STREAM.INFO.{name}"), &json!({}))? {
            Ok(told) => serde_json::from_value(told)
                .map(Some)
                .map_err(|_| Fault::Passing("its description of the stream cannot be read".into())),
            Err(error) if error.err_code == ApiError::NO_STREAM => Ok(None),
            Err(error) => Err(error.fault()),
        }
    }

    /// Whether messages to this subject go into it.
    pub fn takes(&self, subject: &str) -> bool {
        self.config.subjects.iter().any(|filter| covers(filter, subject))
    }
}

/// Whether all that this subject or filter means is meant by a filter, with `*` for one token and `>` for all tokens behind.
pub fn covers(filter: &str, subject: &str) -> bool {
    let (mut filter, mut subject) = (filter.split('.'), subject.split('.'));
    loop {
        match (filter.next(), subject.next()) {
            (None, None) => return true,
            (Some(">"), Some(_)) => return true,
            (Some("*"), Some(token)) if token != ">" => {}
            (Some(wanted), Some(token)) if wanted == token => {}
            _ => return false,
        }
    }
}

/// What subjects of markers of sinks that write to a stream begin with: no rows are there.
pub fn markers(stream: &str) -> String {
    format!("millstream.{stream}.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_cover_what_they_mean() {
        for (filter, subject, covered) in [
            ("a.b", "a.b", true),
            ("a.*", "a.b", true),
            ("a.*", "a.b.c", false),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            (">", "a", true),
            ("a.*", "a.>", false),
            ("a.>", "a.*", true),
            ("a.b", "a.*", false),
        ] {
            assert_eq!(covers(filter, subject), covered, "{filter} {subject}");
        }
    }
}
