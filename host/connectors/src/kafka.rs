//! A client of a Kafka cluster, as sources and sinks have it: its settings, its log, and what goes wrong with it.

pub mod cluster;
pub mod consumer;
pub mod fault;
mod limits;
pub mod sink;
pub mod source;
mod topic_ids;
mod topic_policies;

use crate::tls::{Tls, TlsRefusal};
use cluster::KafkaCluster;
use fault::{KafkaFault, KafkaFaultKind};
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a cluster may take for one answer.
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// How long to wait before another attempt; doubled from attempt to attempt.
pub const PAUSE_MIN: Duration = Duration::from_millis(100);
/// See [`PAUSE_MIN`].
pub const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How often a cluster must have refused the job before that counts: a broker that stops in the middle of a greeting looks
/// as if it did.
const REFUSALS: u32 = 2;

/// What a client of this cluster is made of. Files of certificates are looked at here, so that errors name them. `name` is what
/// the cluster's own logs call the client.
pub fn settings(cluster: &KafkaCluster, folder: &Path, name: &str) -> Result<ClientConfig, TlsRefusal> {
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
        let tls = Tls::of(tls, folder);
        tls.config()?;
        let text = |path: &Path| path.display().to_string();
        config.set("ssl.ca.location", tls.ca.as_deref().map_or("probe".into(), text));
        if let Some((certificate, key)) = &tls.own {
            config.set("ssl.certificate.location", text(certificate)).set("ssl.key.location", text(key));
        }
    }
    if let Some(sasl) = &cluster.sasl {
        config
            .set("sasl.mechanisms", sasl.mechanism.word())
            .set("sasl.username", &sasl.user)
            .set("sasl.password", &sasl.password);
    }
    Ok(config)
}

/// What a client tells beside what it is asked: its log, and errors that belong to no request. It hears of both only where
/// somebody polls it.
#[derive(Default)]
pub struct ClientLog(Mutex<ClusterState>);

/// What is wrong with a cluster at present, as its client tells it.
#[derive(Default)]
struct ClusterState {
    /// Why brokers cannot be reached.
    away: Option<KafkaFault>,
    /// None of them can.
    all_down: bool,
    /// Why they do not let the job in, and how often they said so.
    refusal: Option<(KafkaFault, u32)>,
}

impl ClientLog {
    /// What an error means, with what the client told before it: that a request was not answered is said by the error, and why
    /// there is nobody to answer by what came before.
    pub fn fault(&self, error: &KafkaError) -> KafkaFault {
        if let Some(refusal) = self.refusal() {
            return refusal;
        }
        let fault = KafkaFault::of(error);
        match fault.kind {
            KafkaFaultKind::Passing => self.lock().away.clone().unwrap_or(fault),
            _ => fault,
        }
    }

    /// Why the cluster does not let the job in; `None`: it does, or it is not known yet.
    pub fn refusal(&self) -> Option<KafkaFault> {
        self.lock().refusal.as_ref().filter(|(_, times)| *times >= REFUSALS).map(|(fault, _)| fault.clone())
    }

    /// Why a broker could not be reached, the last time that one could not be.
    pub fn away(&self) -> Option<KafkaFault> {
        self.lock().away.clone()
    }

    /// Why no broker can be reached; `None`: one can, as far as it is known.
    pub fn all_down(&self) -> Option<KafkaFault> {
        let trouble = self.lock();
        trouble.away.clone().filter(|_| trouble.all_down)
    }

    /// A broker has answered.
    pub fn well(&self) {
        *self.lock() = ClusterState::default();
    }

    fn lock(&self) -> MutexGuard<'_, ClusterState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for ClientLog {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        // What matters to the job is told by whoever waits for the client.
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
        let fault = KafkaFault::told(code, reason);
        let mut trouble = self.lock();
        match fault.kind {
            KafkaFaultKind::Lasting if fault.is_refusal() => {
                let before = trouble.refusal.as_ref().map_or(0, |(_, times)| *times);
                trouble.refusal = Some((fault, before + 1));
            }
            KafkaFaultKind::Passing => {
                let all = code == RDKafkaErrorCode::AllBrokersDown;
                trouble.all_down |= all;
                // That all are down says less than why the last one is.
                if !all || trouble.away.is_none() {
                    trouble.away = Some(fault);
                }
            }
            _ => {}
        }
    }
}

impl ConsumerContext for ClientLog {}
