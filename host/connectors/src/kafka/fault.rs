//! Errors of a Kafka cluster, classified by the codes of its protocol and of librdkafka into transient and permanent ones.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use std::fmt;

/// An error of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaFault {
    /// Whether a retry may help.
    pub kind: KafkaFaultKind,
    /// The error code, if there is one.
    pub code: Option<Code>,
    /// A message for users.
    pub message: String,
}

/// Whether a retry of the failed operation may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KafkaFaultKind {
    /// Transient: brokers are unreachable, have no leader for a partition, or no room.
    Transient,
    /// The cluster is reachable, but another transaction is in progress.
    Blocked,
    /// Permanent: a user has to fix the cause.
    Permanent,
    /// A record is invalid: a retry or a restart would fail on the same record.
    Row,
    /// Another start of the job writes now, so this process must stop writing.
    TakenOver,
}

impl fmt::Display for KafkaFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl KafkaFault {
    /// Returns a permanent fault.
    pub fn permanent(message: impl Into<String>) -> KafkaFault {
        KafkaFault { kind: KafkaFaultKind::Permanent, code: None, message: message.into() }
    }

    /// Returns a transient fault.
    pub fn transient(message: impl Into<String>) -> KafkaFault {
        KafkaFault { kind: KafkaFaultKind::Transient, code: None, message: message.into() }
    }

    /// Whether the fault is transient.
    pub fn is_transient(&self) -> bool {
        matches!(self.kind, KafkaFaultKind::Transient | KafkaFaultKind::Blocked)
    }

    /// Whether the topic does not exist, or is not visible to the job.
    pub fn is_topic_missing(&self) -> bool {
        use Code::{TopicAuthorizationFailed, UnknownPartition, UnknownTopic, UnknownTopicOrPartition};
        matches!(self.code, Some(UnknownTopic | UnknownTopicOrPartition | UnknownPartition | TopicAuthorizationFailed))
    }

    /// Whether the cluster rejects the job's credentials.
    pub fn is_rejection(&self) -> bool {
        use Code::{
            Authentication, ClusterAuthorizationFailed, SSL, SaslAuthenticationFailed, UnsupportedSASLMechanism,
        };
        let codes =
            [Authentication, SaslAuthenticationFailed, UnsupportedSASLMechanism, SSL, ClusterAuthorizationFailed];
        self.kind == KafkaFaultKind::Permanent && self.code.is_some_and(|code| codes.contains(&code))
    }

    /// Interprets the error of a request.
    pub fn from_error(error: &KafkaError) -> KafkaFault {
        match (error, error.rdkafka_error_code()) {
            (KafkaError::ClientConfig(_, what, key, _), _) => {
                KafkaFault::permanent(format!("the client cannot be set up: `{key}`: {what}"))
            }
            (KafkaError::ClientCreation(what), _) => KafkaFault::permanent(clean_message(what)),
            (KafkaError::Transaction(error), _) => KafkaFault::from_code(error.code(), &error.string()),
            (_, Some(code)) => KafkaFault::from_code(code, ""),
            (other, None) => KafkaFault::permanent(other.to_string()),
        }
    }

    /// Interprets a code; `reason` is the text with which the client reported it.
    pub fn from_code(code: Code, reason: &str) -> KafkaFault {
        let reason = clean_message(reason);
        let kind = kind_of(code, &reason);
        let cause = if reason.is_empty() { description(code) } else { reason };
        let message = match code {
            Code::Authentication | Code::SaslAuthenticationFailed if kind == KafkaFaultKind::Permanent => {
                format!("authentication failed: {cause}; check `sasl`")
            }
            Code::UnsupportedSASLMechanism => {
                format!("the cluster does not support this SASL mechanism: {cause}; set another `mechanism`")
            }
            Code::SSL if kind == KafkaFaultKind::Permanent => format!("TLS: {cause}; check `tls`"),
            Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed => {
                format!("permission denied: {cause}; grant it to the user of `sasl`")
            }
            _ => cause,
        };
        KafkaFault { kind, code: Some(code), message }
    }
}

fn kind_of(code: Code, reason: &str) -> KafkaFaultKind {
    use Code::*;
    match code {
        // A broker that stops during the handshake causes this, too.
        SSL | Authentication if !is_rejection(reason) => KafkaFaultKind::Transient,
        BrokerTransportFailure
        | Resolve
        | MessageTimedOut
        | AllBrokersDown
        | OperationTimedOut
        | QueueFull
        | WaitingForCoordinator
        | InProgress
        | PreviousInProgress
        | Outdated
        | TimedOutQueue
        | WaitCache
        | Interrupted
        | Partial
        | Retry
        | PurgeQueue
        | PurgeInflight
        | NodeUpdate
        | DestroyBroker
        | BrokerDestroy
        | State
        | LeaderNotAvailable
        | NotLeaderForPartition
        | RequestTimedOut
        | BrokerNotAvailable
        | ReplicaNotAvailable
        | StaleControllerEpoch
        | NetworkException
        | CoordinatorLoadInProgress
        | CoordinatorNotAvailable
        | NotCoordinator
        | NotEnoughReplicas
        | NotEnoughReplicasAfterAppend
        | NotController
        | ConcurrentTransactions
        | KafkaStorageError
        | ReassignmentInProgress
        | FetchSessionIdNotFound
        | InvalidFetchSessionEpoch
        | ListenerNotFound
        | FencedLeaderEpoch
        | UnknownLeaderEpoch
        | StaleBrokerEpoch
        | OffsetNotAvailable
        | PreferredLeaderNotAvailable
        | EligibleLeadersNotAvailable
        | UnstableOffsetCommit
        | ThrottlingQuotaExceeded
        | RebootstrapRequired
        | CriticalSystemResource
        | UnknownBroker
        | ISRInsufficient => KafkaFaultKind::Transient,
        MessageSizeTooLarge | MessageBatchTooLarge | InvalidRecord | InvalidMessageSize | InvalidTimestamp => {
            KafkaFaultKind::Row
        }
        Fenced | ProducerFenced | InvalidProducerEpoch | TransactionCoordinatorFenced => KafkaFaultKind::TakenOver,
        _ => KafkaFaultKind::Permanent,
    }
}

/// Whether a reason says that the other end rejected the handshake. The library has one code for all failed handshakes, and only its text
/// tells them apart.
fn is_rejection(reason: &str) -> bool {
    const REJECTION_TEXTS: [&str; 9] = [
        "certificate",
        "alert",
        "wrong version number",
        "unsupported protocol",
        "no shared cipher",
        "Authentication failed",
        "authentication failed",
        "Invalid credentials",
        "mechanism handshake failed",
    ];
    REJECTION_TEXTS.iter().any(|text| reason.contains(text))
}

/// Returns the library's text for a code, without its name.
fn description(code: Code) -> String {
    let text = code.to_string();
    let inner = text.split_once('(').map_or(text.as_str(), |(_, inner)| inner.strip_suffix(')').unwrap_or(inner));
    let inner = inner.strip_prefix("Local: ").or_else(|| inner.strip_prefix("Broker: ")).unwrap_or(inner);
    inner.to_owned()
}

/// Returns the library's text without timing, and with the job's keys instead of its own.
fn clean_message(reason: &str) -> String {
    let cause = reason.split(" (after ").next().unwrap_or_default().trim();
    if cause.contains("security.protocol") || cause.contains("ssl.key.location") {
        let what = cause.split([';', ',']).next().unwrap_or_default();
        let what = what.split(": verify that").next().unwrap_or_default();
        let what = what.split(": client SSL authentication might").next().unwrap_or_default();
        return format!("{what}; the cluster may require `tls` or `sasl`, or not support them");
    }
    cause.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_library_says_of_a_greeting_tells_whether_it_passes() {
        let kind = |code, reason: &str| KafkaFault::from_code(code, reason).kind;
        let failed_login = "sasl_plaintext://127.0.0.1:9092/bootstrap: SASL authentication error: Authentication failed during \
                       authentication due to invalid credentials with SASL mechanism SCRAM-SHA-256 (after 212ms in state \
                       AUTH_REQ)";
        assert_eq!(kind(Code::Authentication, failed_login), KafkaFaultKind::Permanent);
        let untrusted = "ssl://127.0.0.1:9093/bootstrap: SSL handshake failed: error:0A000086:SSL routines::certificate verify \
                         failed: broker certificate could not be verified, verify that ssl.ca.location is correctly configured";
        assert_eq!(kind(Code::SSL, untrusted), KafkaFaultKind::Permanent);
        assert_eq!(
            kind(Code::SSL, "ssl://127.0.0.1:9093/1: SSL handshake failed: Disconnected"),
            KafkaFaultKind::Transient
        );
        let stopped = "127.0.0.1:9092/1: Disconnected: hung up from peer in state AUTH_LEGACY";
        assert_eq!(kind(Code::Authentication, stopped), KafkaFaultKind::Transient);
    }

    #[test]
    fn its_timing_and_its_own_keys_are_not_shown() {
        let unreachable = "127.0.0.1:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state CONNECT)";
        let fault = KafkaFault::from_code(Code::BrokerTransportFailure, unreachable);
        assert_eq!(fault.message, "127.0.0.1:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused");
        assert!(fault.is_transient());
        let closed = "127.0.0.1:9092/bootstrap: Disconnected: verify that security.protocol is correctly configured, broker \
                      might require SASL authentication";
        let message = KafkaFault::from_code(Code::BrokerTransportFailure, closed).message;
        assert_eq!(
            message,
            "127.0.0.1:9092/bootstrap: Disconnected; the cluster may require `tls` or `sasl`, or not support them"
        );
        assert_eq!(KafkaFault::from_code(Code::UnknownTopicOrPartition, "").message, "Unknown topic or partition");
    }
}
