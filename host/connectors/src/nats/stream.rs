//! JetStream streams: their configuration and state, and which subjects they have.

use super::{ApiError, Connection, Fault};
use serde::Deserialize;
use serde_json::json;

/// Configuration and state of a stream.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Stream {
    /// Creation time. It tells apart streams that had the same name one after the other.
    pub created: String,
    pub config: Config,
    pub state: State,
}

/// Configuration of a stream.
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

/// State of a stream.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct State {
    /// Sequence of the oldest message; if the stream is empty, of the next one.
    pub first_seq: u64,
    pub last_seq: u64,
}

impl Stream {
    /// Requests a stream's configuration and state; `None` if it does not exist.
    pub fn find(connection: &mut Connection, name: &str) -> Result<Option<Stream>, Fault> {
        match connection.request(&format!("$JS.API.STREAM.INFO.{name}"), &json!({}))? {
            Ok(info) => serde_json::from_value(info)
                .map(Some)
                .map_err(|_| Fault::Transient("its description of the stream cannot be read".into())),
            Err(error) if error.err_code == ApiError::NO_STREAM => Ok(None),
            Err(error) => Err(error.to_fault()),
        }
    }

    /// Whether the stream stores messages with this subject.
    pub fn accepts(&self, subject: &str) -> bool {
        self.config.subjects.iter().any(|filter| covers(filter, subject))
    }
}

/// Whether `filter` matches everything that `subject`, which may be a filter too, matches. `*` is one token, `>` all further tokens.
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

/// Prefix of the subjects of markers in a stream. Messages with these subjects are not rows.
pub fn marker_prefix(stream: &str) -> String {
    format!("millstream.{stream}.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_cover_subjects() {
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
