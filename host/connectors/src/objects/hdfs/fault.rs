//! What servers of HDFS answer when they do not do what they were asked. Exceptions of Java are told by their class.

use futures_util::{Stream, StreamExt};
use hdfs_native::HdfsError;
use object_store::Error;
use std::fmt;
use std::future::Future;
use std::time::Duration;

pub const NAME: &str = "HDFS";
/// How long an answer may take. A piece of a file is small, so nothing that a cluster in order is asked takes that long; who waits
/// for a connection that nobody cut hears of it after this time only, and then asks again.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// Why HDFS cannot do something, and whether that passes.
#[derive(Debug)]
pub struct HdfsFault {
    words: String,
    /// It may be possible later.
    pub passes: bool,
}

impl HdfsFault {
    /// As an error of a store of objects.
    pub fn error(words: &str, passes: bool) -> Error {
        Error::Generic { store: NAME, source: Box::new(HdfsFault { words: words.to_owned(), passes }) }
    }
}

impl fmt::Display for HdfsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl std::error::Error for HdfsFault {}

/// There is nothing at a path.
pub fn not_found(path: &str) -> Error {
    Error::NotFound { path: path.to_owned(), source: "there is no such file or folder".into() }
}

/// Asks, and does not wait for ever.
pub async fn in_time<T>(path: &str, asked: impl Future<Output = hdfs_native::Result<T>>) -> Result<T, Error> {
    match tokio::time::timeout(ANSWER_MAX, asked).await {
        Ok(answer) => answer.map_err(|answer| error(path, answer)),
        Err(_) => Err(HdfsFault::error(&format!("no answer within {} s", ANSWER_MAX.as_secs()), true)),
    }
}

/// Pieces of a file, each of which comes in time or is an error, behind which there are none.
pub fn pieces_in_time<T>(
    path: String,
    pieces: impl Stream<Item = hdfs_native::Result<T>> + Unpin,
) -> impl Stream<Item = Result<T, Error>> {
    futures_util::stream::unfold(Some((path, pieces)), |reading| async {
        let (path, mut pieces) = reading?;
        match in_time(&path, async { pieces.next().await.transpose() }).await.transpose()? {
            Ok(piece) => Some((Ok(piece), Some((path, pieces)))),
            Err(error) => Some((Err(error), None)),
        }
    })
}

/// An error at a path.
pub fn error(path: &str, error: HdfsError) -> Error {
    let words = match &error {
        HdfsError::RPCError(class, text) | HdfsError::FatalRPCError(class, text) => {
            // Java puts where it happened behind what happened.
            format!("{}: {}", short(class), text.lines().next().unwrap_or_default())
        }
        other => other.to_string(),
    };
    let (path, source) = (path.to_owned(), words.clone().into());
    match kind(&error) {
        Kind::NotFound => not_found(&path),
        Kind::Exists => Error::AlreadyExists { path, source },
        Kind::Denied => Error::PermissionDenied { path, source },
        Kind::Unknown => Error::Unauthenticated { path, source },
        Kind::Passes => HdfsFault::error(&words, true),
        Kind::Lasts => HdfsFault::error(&words, false),
    }
}

/// The name of a Java class without its package.
fn short(class: &str) -> &str {
    class.rsplit(['.', '$']).next().unwrap_or(class)
}

#[derive(Debug, PartialEq)]
enum Kind {
    NotFound,
    Exists,
    /// Whoever asks may not.
    Denied,
    /// It is not known who asks.
    Unknown,
    Passes,
    Lasts,
}

fn kind(error: &HdfsError) -> Kind {
    match error {
        HdfsError::FileNotFound(_) => Kind::NotFound,
        HdfsError::AlreadyExists(_) => Kind::Exists,
        HdfsError::RPCError(class, _) | HdfsError::FatalRPCError(class, _) => kind_of_class(short(class)),
        HdfsError::SASLError(_) | HdfsError::GSSAPIError(..) | HdfsError::NoSASLMechanism => Kind::Unknown,
        // A server or a connection that went away, and servers that hold no copy at the moment.
        HdfsError::IOError(_)
        | HdfsError::DataTransferError(_)
        | HdfsError::ChecksumError
        | HdfsError::OperationFailed(_)
        | HdfsError::BlocksNotFound(_) => Kind::Passes,
        _ => Kind::Lasts,
    }
}

fn kind_of_class(class: &str) -> Kind {
    match class {
        "FileNotFoundException" => Kind::NotFound,
        "FileAlreadyExistsException" | "AlreadyBeingCreatedException" => Kind::Exists,
        "AccessControlException" | "AuthorizationException" => Kind::Denied,
        "SaslException" | "GSSException" | "InvalidToken" => Kind::Unknown,
        // What a server says while it starts, stops, hands over, has no data nodes, or is full.
        "SafeModeException"
        | "StandbyException"
        | "RetriableException"
        | "RetryStartFileException"
        | "ObserverRetryOnActiveException"
        | "NotReplicatedYetException"
        | "LeaseExpiredException"
        | "ReplicaNotFoundException"
        | "DisallowedDatanodeException"
        | "NSQuotaExceededException"
        | "DSQuotaExceededException"
        | "IOException" => Kind::Passes,
        _ => Kind::Lasts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_are_told_by_their_class() {
        let of = |class: &str| kind(&HdfsError::RPCError(class.into(), "standby".into()));
        assert_eq!(of("java.io.FileNotFoundException"), Kind::NotFound);
        assert_eq!(of("org.apache.hadoop.security.AccessControlException"), Kind::Denied);
        assert_eq!(of("org.apache.hadoop.security.token.SecretManager$InvalidToken"), Kind::Unknown);
        assert_eq!(of("org.apache.hadoop.hdfs.server.namenode.SafeModeException"), Kind::Passes);
        assert_eq!(of("org.apache.hadoop.HadoopIllegalArgumentException"), Kind::Lasts);
        let told = error("/a", HdfsError::RPCError("a.b.C".into(), "why\n\tat a.b.C.d(C.java:1)".into()));
        assert_eq!(told.to_string(), "Generic HDFS error: C: why");
    }
}
