//! What goes wrong with a Kafka cluster: by the codes of its protocol and of librdkafka, whether it helps to try again.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use std::fmt;

/// What went wrong with a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaFault {
    /// Whether it helps to try again.
    pub kind: KafkaFaultKind,
    /// The code by which it was told; `None`: there is none.
    pub code: Option<Code>,
    /// For a person to read.
    pub message: String,
}

/// Whether it helps to try again what failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KafkaFaultKind {
    /// It may go away by itself: brokers are away, or have no leader for a partition, or no room.
    Passing,
    /// The cluster is there, and a transaction of somebody else is under way.
    HeldUp,
    /// Somebody has to mend something.
    Lasting,
    /// A record is to blame, so trying again, or starting again, would come to the same record.
    Row,
    /// Another start of the job writes now, so this process must not write any more.
    TakenOver,
}

impl fmt::Display for KafkaFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl KafkaFault {
    /// Something that does not go away by itself.
    pub fn lasting(message: impl Into<String>) -> KafkaFault {
        KafkaFault { kind: KafkaFaultKind::Lasting, code: None, message: message.into() }
    }

    /// Something that may go away by itself.
    pub fn passing(message: impl Into<String>) -> KafkaFault {
        KafkaFault { kind: KafkaFaultKind::Passing, code: None, message: message.into() }
    }

    /// Whether it may go away by itself.
    pub fn passes(&self) -> bool {
        matches!(self.kind, KafkaFaultKind::Passing | KafkaFaultKind::HeldUp)
    }

    /// Whether there is no such topic, or none that the job may see.
    pub fn is_no_topic(&self) -> bool {
        use Code::{TopicAuthorizationFailed, UnknownPartition, UnknownTopic, UnknownTopicOrPartition};
        matches!(self.code, Some(UnknownTopic | UnknownTopicOrPartition | UnknownPartition | TopicAuthorizationFailed))
    }

    /// Whether the cluster does not let the job in.
    pub fn is_refusal(&self) -> bool {
        use Code::{
            Authentication, ClusterAuthorizationFailed, SSL, SaslAuthenticationFailed, UnsupportedSASLMechanism,
        };
        let codes =
            [Authentication, SaslAuthenticationFailed, UnsupportedSASLMechanism, SSL, ClusterAuthorizationFailed];
        self.kind == KafkaFaultKind::Lasting && self.code.is_some_and(|code| codes.contains(&code))
    }

    /// What an error of a request means.
    pub fn of(error: &KafkaError) -> KafkaFault {
        match (error, error.rdkafka_error_code()) {
            (KafkaError::ClientConfig(_, what, key, _), _) => {
                KafkaFault::lasting(format!("the client cannot be set up: `{key}`: {what}"))
            }
            (KafkaError::ClientCreation(what), _) => KafkaFault::lasting(in_our_words(what)),
            (KafkaError::Transaction(error), _) => KafkaFault::told(error.code(), &error.string()),
            (_, Some(code)) => KafkaFault::told(code, ""),
            (other, None) => KafkaFault::lasting(other.to_string()),
        }
    }

    /// What a code means; `reason`: what the client says beside it.
    pub fn told(code: Code, reason: &str) -> KafkaFault {
        let reason = in_our_words(reason);
        let kind = kind_of(code, &reason);
        let said = if reason.is_empty() { described(code) } else { reason };
        let message = match code {
            Code::Authentication | Code::SaslAuthenticationFailed if kind == KafkaFaultKind::Lasting => {
                format!("authentication failed: {said}; check `sasl`")
            }
            Code::UnsupportedSASLMechanism => {
                format!("the cluster does not support this SASL mechanism: {said}; set another `mechanism`")
            }
            Code::SSL if kind == KafkaFaultKind::Lasting => format!("TLS: {said}; check `tls`"),
            Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed => {
                format!("permission denied: {said}; grant it to the user of `sasl`")
            }
            _ => said,
        };
        KafkaFault { kind, code: Some(code), message }
    }
}

fn kind_of(code: Code, reason: &str) -> KafkaFaultKind {
    use Code::*;
    match code {
        // A broker that stops while it greets looks so, too.
        SSL | Authentication if !is_refusal(reason) => KafkaFaultKind::Passing,
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
        | ISRInsufficient => KafkaFaultKind::Passing,
        MessageSizeTooLarge | MessageBatchTooLarge | InvalidRecord | InvalidMessageSize | InvalidTimestamp => {
            KafkaFaultKind::Row
        }
        Fenced | ProducerFenced | InvalidProducerEpoch | TransactionCoordinatorFenced => KafkaFaultKind::TakenOver,
        _ => KafkaFaultKind::Lasting,
    }
}

/// The library has one code for all that ends a greeting, and tells only in words whether the other end said no.
fn is_refusal(reason: &str) -> bool {
    const WORDS: [&str; 9] = [
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
    WORDS.iter().any(|words| reason.contains(words))
}

/// The library's words for a code, without its name.
fn described(code: Code) -> String {
    let text = code.to_string();
    let inner = text.split_once('(').map_or(text.as_str(), |(_, inner)| inner.strip_suffix(')').unwrap_or(inner));
    let inner = inner.strip_prefix("Local: ").or_else(|| inner.strip_prefix("Broker: ")).unwrap_or(inner);
    inner.to_owned()
}

/// What the library says, without its timing, and with the job's keys for its own.
fn in_our_words(reason: &str) -> String {
    let said = reason.split(" (after ").next().unwrap_or_default().trim();
    if said.contains("security.protocol") || said.contains("ssl.key.location") {
        let what = said.split([';', ',']).next().unwrap_or_default();
        let what = what.split(": verify that").next().unwrap_or_default();
        let what = what.split(": client SSL authentication might").next().unwrap_or_default();
        return format!("{what}; it may want `tls` or `sasl` of the job, or not want them");
    }
    said.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_library_says_of_a_greeting_tells_whether_it_passes() {
        let kind = |code, reason: &str| KafkaFault::told(code, reason).kind;
        let refused = "sasl_plaintext://127.0.0.1:9092/bootstrap: SASL authentication error: Authentication failed during \
                       authentication due to invalid credentials with SASL mechanism SCRAM-SHA-256 (after 212ms in state \
                       AUTH_REQ)";
        assert_eq!(kind(Code::Authentication, refused), KafkaFaultKind::Lasting);
        let untrusted = "ssl://127.0.0.1:9093/bootstrap: SSL handshake failed: error:0A000086:SSL routines::certificate verify \
                         failed: broker certificate could not be verified, verify that ssl.ca.location is correctly configured";
        assert_eq!(kind(Code::SSL, untrusted), KafkaFaultKind::Lasting);
        assert_eq!(
            kind(Code::SSL, "ssl://127.0.0.1:9093/1: SSL handshake failed: Disconnected"),
            KafkaFaultKind::Passing
        );
        let stopped = "127.0.0.1:9092/1: Disconnected: hung up from peer in state AUTH_LEGACY";
        assert_eq!(kind(Code::Authentication, stopped), KafkaFaultKind::Passing);
    }

    #[test]
    fn its_timing_and_its_own_keys_are_not_shown() {
        let away = "127.0.0.1:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state CONNECT)";
        let fault = KafkaFault::told(Code::BrokerTransportFailure, away);
        assert_eq!(fault.message, "127.0.0.1:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused");
        assert!(fault.passes());
        let closed = "127.0.0.1:9092/bootstrap: Disconnected: verify that security.protocol is correctly configured, broker \
                      might require SASL authentication";
        let told = KafkaFault::told(Code::BrokerTransportFailure, closed).message;
        assert_eq!(
            told,
            "127.0.0.1:9092/bootstrap: Disconnected; it may want `tls` or `sasl` of the job, or not want them"
        );
        assert_eq!(KafkaFault::told(Code::UnknownTopicOrPartition, "").message, "Unknown topic or partition");
    }
}
