//! The Kafka client of sources and sinks: its settings, its log and its errors.

pub mod cluster;
pub mod consumer;
pub mod fault;
mod limits;
pub mod sink;
pub mod source;
mod topic_ids;
mod topic_policies;

use cluster::KafkaCluster;
use fault::{KafkaFault, KafkaFaultKind};
use millstream_connect::tls::{Tls, TlsError};
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Maximum time of one response.
pub const RESPONSE_TIME_MAX: Duration = Duration::from_secs(10);
/// Pause before the first retry, doubled with each retry.
pub const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Maximum pause before a retry; see [`PAUSE_MIN`].
pub const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How often a cluster must have rejected the job before that counts. A broker that stops during a handshake looks the same.
const REJECTIONS_MIN: u32 = 2;

/// Returns the settings of a client of this cluster. Certificate files are checked here, so that errors name them. `name` appears in the
/// cluster's own logs.
pub fn settings(cluster: &KafkaCluster, dir: &Path, name: &str) -> Result<ClientConfig, TlsError> {
    let mut config = ClientConfig::new();
    config.log_level = RDKafkaLogLevel::Info;
    config
        .set("bootstrap.servers", cluster.brokers.join(","))
        .set("client.id", name)
        .set("socket.keepalive.enable", "true")
        .set("reconnect.backoff.ms", PAUSE_MIN.as_millis().to_string())
        .set("reconnect.backoff.max.ms", PAUSE_MAX.as_millis().to_string());
    let protocol = match (&cluster.tls, &cluster.sasl) {
        (None, None) => "plaintext",
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    config.set("security.protocol", protocol);
    if let Some(tls) = &cluster.tls {
        let tls = Tls::from_spec(tls, dir);
        tls.config()?;
        let text = |path: &Path| path.display().to_string();
        config.set("ssl.ca.location", tls.ca.as_deref().map_or("probe".into(), text));
        if let Some((certificate, key)) = &tls.own {
            config.set("ssl.certificate.location", text(certificate)).set("ssl.key.location", text(key));
        }
    }
    if let Some(sasl) = &cluster.sasl {
        config
            .set("sasl.mechanisms", sasl.mechanism.keyword())
            .set("sasl.username", &sasl.user)
            .set("sasl.password", &sasl.password);
    }
    Ok(config)
}

/// What a client reports outside of responses: its log, and errors that belong to no request. It is filled only while the client is polled.
#[derive(Default)]
pub struct ClientLog(Mutex<ClusterState>);

/// Current problems of a cluster, as its client reports them.
#[derive(Default)]
struct ClusterState {
    /// Why brokers are unreachable.
    unreachable: Option<KafkaFault>,
    /// Whether all brokers are unreachable.
    all_unreachable: bool,
    /// Why the brokers reject the job, and how often they did.
    rejection: Option<(KafkaFault, u32)>,
}

impl ClientLog {
    /// Interprets an error together with earlier reports. The error says that a request got no response, an earlier report why.
    pub fn fault(&self, error: &KafkaError) -> KafkaFault {
        if let Some(rejection) = self.rejection() {
            return rejection;
        }
        let fault = KafkaFault::from_error(error);
        match fault.kind {
            KafkaFaultKind::Transient => self.lock().unreachable.clone().unwrap_or(fault),
            _ => fault,
        }
    }

    /// Returns why the cluster rejects the job; `None`: it does not, or this is unknown yet.
    pub fn rejection(&self) -> Option<KafkaFault> {
        self.lock().rejection.as_ref().filter(|(_, times)| *times >= REJECTIONS_MIN).map(|(fault, _)| fault.clone())
    }

    /// Returns why the last unreachable broker was unreachable.
    pub fn unreachable(&self) -> Option<KafkaFault> {
        self.lock().unreachable.clone()
    }

    /// Returns why no broker is reachable; `None`: one is, as far as known.
    pub fn all_unreachable(&self) -> Option<KafkaFault> {
        let state = self.lock();
        state.unreachable.clone().filter(|_| state.all_unreachable)
    }

    /// Records that a broker has responded.
    pub fn clear(&self) {
        *self.lock() = ClusterState::default();
    }

    fn lock(&self) -> MutexGuard<'_, ClusterState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for ClientLog {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        // Errors that matter to the job are reported by the code that waits for the client.
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::warn!("librdkafka: {facility}: {text}");
            }
            _ => tracing::debug!("librdkafka: {facility}: {text}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!("librdkafka: {error}: {reason}");
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        let fault = KafkaFault::from_code(code, reason);
        let mut state = self.lock();
        match fault.kind {
            KafkaFaultKind::Permanent if fault.is_rejection() => {
                let before = state.rejection.as_ref().map_or(0, |(_, times)| *times);
                state.rejection = Some((fault, before + 1));
            }
            KafkaFaultKind::Transient => {
                let all = code == RDKafkaErrorCode::AllBrokersDown;
                state.all_unreachable |= all;
                // The cause of the last failure says more than that all brokers are down.
                if !all || state.unreachable.is_none() {
                    state.unreachable = Some(fault);
                }
            }
            _ => {}
        }
    }
}

impl ConsumerContext for ClientLog {}
