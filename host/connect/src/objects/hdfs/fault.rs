//! Error responses of HDFS servers. Java exceptions are identified by their class.

use futures_util::{Stream, StreamExt};
use hdfs_native::HdfsError;
use object_store::Error;
use std::fmt;
use std::future::Future;
use std::time::Duration;

pub const NAME: &str = "HDFS";
/// Maximum time of a response. A piece of a file is small, so a healthy cluster never takes that long. A silently dead connection is
/// noticed only after this time, and the request is repeated.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(20);

/// An error of HDFS, and whether it is transient.
#[derive(Debug)]
pub struct HdfsFault {
    message: String,
    /// Whether a retry may help.
    pub is_transient: bool,
}

impl HdfsFault {
    /// Returns an error of an object store.
    pub fn error(message: &str, is_transient: bool) -> Error {
        Error::Generic { store: NAME, source: Box::new(HdfsFault { message: message.to_owned(), is_transient }) }
    }
}

impl fmt::Display for HdfsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for HdfsFault {}

/// Returns the error for a missing path.
pub fn not_found(path: &str) -> Error {
    Error::NotFound { path: path.to_owned(), source: "no such file or directory".into() }
}

/// Runs a request with a time limit.
pub async fn with_timeout<T>(path: &str, request: impl Future<Output = hdfs_native::Result<T>>) -> Result<T, Error> {
    match tokio::time::timeout(RESPONSE_TIMEOUT, request).await {
        Ok(result) => result.map_err(|cause| error(path, cause)),
        Err(_) => Err(HdfsFault::error(&format!("no response within {} s", RESPONSE_TIMEOUT.as_secs()), true)),
    }
}

/// Returns the pieces of a file, each with a time limit. An error ends the stream.
pub fn pieces_with_timeout<T>(
    path: String,
    pieces: impl Stream<Item = hdfs_native::Result<T>> + Unpin,
) -> impl Stream<Item = Result<T, Error>> {
    futures_util::stream::unfold(Some((path, pieces)), |reading| async {
        let (path, mut pieces) = reading?;
        match with_timeout(&path, async { pieces.next().await.transpose() }).await.transpose()? {
            Ok(piece) => Some((Ok(piece), Some((path, pieces)))),
            Err(error) => Some((Err(error), None)),
        }
    })
}

/// Converts an error at a path.
pub fn error(path: &str, error: HdfsError) -> Error {
    let message = match &error {
        HdfsError::RPCError(class, text) | HdfsError::FatalRPCError(class, text) => {
            // Java appends the stack trace to the message.
            format!("{}: {}", class_name(class), text.lines().next().unwrap_or_default())
        }
        other => other.to_string(),
    };
    let (path, source) = (path.to_owned(), message.clone().into());
    match kind(&error) {
        Kind::NotFound => not_found(&path),
        Kind::Exists => Error::AlreadyExists { path, source },
        Kind::Denied => Error::PermissionDenied { path, source },
        Kind::Unknown => Error::Unauthenticated { path, source },
        Kind::Transient => HdfsFault::error(&message, true),
        Kind::Permanent => HdfsFault::error(&message, false),
    }
}

/// Returns the name of a Java class without its package.
fn class_name(class: &str) -> &str {
    class.rsplit(['.', '$']).next().unwrap_or(class)
}

#[derive(Debug, PartialEq)]
enum Kind {
    NotFound,
    Exists,
    /// Permission is denied.
    Denied,
    /// The caller is not authenticated.
    Unknown,
    Transient,
    Permanent,
}

fn kind(error: &HdfsError) -> Kind {
    match error {
        HdfsError::FileNotFound(_) => Kind::NotFound,
        HdfsError::AlreadyExists(_) => Kind::Exists,
        HdfsError::RPCError(class, _) | HdfsError::FatalRPCError(class, _) => kind_of_class(class_name(class)),
        HdfsError::SASLError(_) | HdfsError::GSSAPIError(..) | HdfsError::NoSASLMechanism => Kind::Unknown,
        // A server or a connection that failed, or servers that currently have no replica.
        HdfsError::IOError(_)
        | HdfsError::DataTransferError(_)
        | HdfsError::ChecksumError
        | HdfsError::OperationFailed(_)
        | HdfsError::BlocksNotFound(_) => Kind::Transient,
        _ => Kind::Permanent,
    }
}

fn kind_of_class(class: &str) -> Kind {
    match class {
        "FileNotFoundException" => Kind::NotFound,
        "FileAlreadyExistsException" | "AlreadyBeingCreatedException" => Kind::Exists,
        "AccessControlException" | "AuthorizationException" => Kind::Denied,
        "SaslException" | "GSSException" | "InvalidToken" => Kind::Unknown,
        // Errors of a server that starts, stops, fails over, has no data nodes, or is full.
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
        | "IOException" => Kind::Transient,
        _ => Kind::Permanent,
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
        assert_eq!(of("org.apache.hadoop.hdfs.server.namenode.SafeModeException"), Kind::Transient);
        assert_eq!(of("org.apache.hadoop.HadoopIllegalArgumentException"), Kind::Permanent);
        let described = error("/a", HdfsError::RPCError("a.b.C".into(), "why\n\tat a.b.C.d(C.java:1)".into()));
        assert_eq!(described.to_string(), "Generic HDFS error: C: why");
    }
}
