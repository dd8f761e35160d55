//! A producer session: records sent to a cluster, and the transaction of a batch.

use super::records::Records;
use super::watch::Watch;
use crate::kafka::ClientLog;
use crate::kafka::fault::{KafkaFault, KafkaFaultKind};
use millstream_base::fault;
use rdkafka::ClientContext;
use rdkafka::bindings::rd_kafka_flush;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Timeout of one call of the library, which is then repeated.
const STEP: Duration = Duration::from_millis(500);
/// Timeout of a call that only starts an operation.
const IMMEDIATE_TIMEOUT: Duration = Duration::from_millis(1);
/// Maximum time to abort a failed transaction. The next run of the sink aborts it as well.
const ABORT_TIME_MAX: Duration = Duration::from_secs(1);
/// How many records are sent between polls for delivery reports.
const RECORDS_PER_POLL: usize = 1_000;
/// Pending events of a client are available within this time.
const EVENTS_WITHIN: Duration = Duration::from_millis(20);
/// How long to wait for the library, for room or for completion, before other checks.
const ROOM_TIME: Duration = Duration::from_millis(5);
const DRAIN_TIME: Duration = Duration::from_millis(50);
/// Maximum events of the client that are handled between waits.
const EVENTS_PER_CHECK: usize = 10;

/// A connection to the cluster under the sink's transactional id. No other process writes under it, and a later one fences its predecessor.
pub(super) struct Session {
    producer: BaseProducer<Deliveries>,
    transactional: bool,
    /// Whether a transaction was begun and not committed.
    open: bool,
}

/// Whether this code means that a transaction was ended by something other than a request of this session. It took too long, or another
/// producer began one under the same id. An unknown server error counts, too: brokers report it if they abort a transaction while it is
/// being committed.
pub(super) fn ends_transactions(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::Fenced
            | Code::ProducerFenced
            | Code::InvalidProducerEpoch
            | Code::InvalidProducerIdMapping
            | Code::UnknownProducerId
            | Code::InvalidTransactionalState
            | Code::TransactionCoordinatorFenced
            | Code::OutOfOrderSequenceNumber
            | Code::Inconsistent
            | Code::Fatal
            | Code::State
    )
}

/// The destination of a batch's records.
pub(super) struct Batch<'a> {
    pub topic: &'a str,
    pub records: &'a Records,
    /// Topic, key and value of the marker, if there is one.
    pub marker: Option<(&'a str, &'a str, Vec<u8>)>,
}

/// Reports of the client, and the first record that was not delivered.
#[derive(Default)]
struct Deliveries {
    client_log: ClientLog,
    failed: Mutex<Option<KafkaError>>,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        // The end of a transaction is reported by the code that begins the next one.
        let level = if facility == "TXNERR" { RDKafkaLogLevel::Info } else { level };
        self.client_log.log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.client_log.error(error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _: ()) {
        if let Err((error, _)) = result {
            let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            failed.get_or_insert_with(|| error.clone());
        }
    }
}

impl Session {
    /// Connects. With transactions, it aborts those of the sink's previous owner, and fences all other processes.
    pub fn begin(config: &ClientConfig, watch: &mut Watch<'_>) -> Result<Session, KafkaFault> {
        let session = Session::connect(config)?;
        session.await_begin(watch)?;
        Ok(session)
    }

    /// Aborts the transactions under several ids, all at the same time: what was begun under them can no longer be committed.
    pub fn end_others(configs: &[ClientConfig], watch: &mut Watch<'_>) -> Result<(), KafkaFault> {
        let sessions = configs.iter().map(Session::connect).collect::<Result<Vec<_>, _>>()?;
        for session in &sessions {
            // Starts the operation in the library; its result is checked when it is awaited.
            let _ = session.producer.init_transactions(IMMEDIATE_TIMEOUT);
        }
        sessions.iter().try_for_each(|session| session.await_begin(watch))
    }

    fn connect(config: &ClientConfig) -> Result<Session, KafkaFault> {
        let transactional = config.get("transactional.id").is_some();
        let producer =
            config.create_with_context(Deliveries::default()).map_err(|error| KafkaFault::from_error(&error))?;
        Ok(Session { producer, transactional, open: false })
    }

    fn await_begin(&self, watch: &mut Watch<'_>) -> Result<(), KafkaFault> {
        while self.transactional
            && let Err(error) = self.producer.init_transactions(STEP)
        {
            self.check_timeout(&error, watch)?;
        }
        self.client_log().clear();
        Ok(())
    }

    /// Sends the records of a batch, and waits until the cluster has them. With transactions, all of them and the marker are written, or
    /// none.
    pub fn write(&mut self, batch: &Batch<'_>, watch: &mut Watch<'_>) -> Result<(), KafkaFault> {
        if self.transactional {
            self.producer.begin_transaction().map_err(|error| self.broken(&error))?;
            self.open = true;
        }
        for (number, (key, value)) in batch.records.iter().enumerate() {
            self.send(batch.topic, key, value, watch)?;
            if number % RECORDS_PER_POLL == 0 {
                self.producer.poll(Duration::ZERO);
            }
        }
        if fault::awaits("commit.written") {
            self.drain(watch)?;
            fault::point("commit.written");
        }
        let late = fault::bug!("marker-late");
        if let Some((topic, key, value)) = batch.marker.as_ref().filter(|_| !late) {
            self.send(topic, Some(key.as_bytes()), Some(value), watch)?;
        }
        self.drain(watch)?;
        if self.transactional {
            fault::point("commit.marked");
            self.commit(watch)?;
        }
        if let Some((topic, key, value)) = batch.marker.as_ref().filter(|_| late) {
            fault::point("commit.unmarked");
            self.producer.begin_transaction().map_err(|error| self.broken(&error))?;
            self.send(topic, Some(key.as_bytes()), Some(value), watch)?;
            self.drain(watch)?;
            self.commit(watch)?;
        }
        Ok(())
    }

    /// Ends the session. An open transaction is aborted, so that readers do not wait for it.
    pub fn end(self) {
        if self.open {
            // If the cluster does not receive it, the next session under this id aborts it, or its timeout does.
            let _ = self.producer.abort_transaction(ABORT_TIME_MAX);
        }
    }

    fn commit(&mut self, watch: &mut Watch<'_>) -> Result<(), KafkaFault> {
        loop {
            match self.producer.commit_transaction(STEP) {
                Ok(()) => break,
                // The call resumes.
                Err(error) => self.check_timeout(&error, watch)?,
            }
        }
        self.open = false;
        Ok(())
    }

    /// Passes a record to the library once there is room for it.
    fn send(
        &self,
        topic: &str,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        watch: &mut Watch<'_>,
    ) -> Result<(), KafkaFault> {
        let mut record = BaseRecord::<[u8], [u8]>::to(topic);
        record.key = key;
        record.payload = value;
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(Code::QueueFull), same)) => {
                    record = same;
                    self.progress(ROOM_TIME, watch)?;
                }
                Err((error, _)) => return Err(self.broken(&error)),
            }
        }
    }

    /// Waits until the cluster has all records.
    fn drain(&self, watch: &mut Watch<'_>) -> Result<(), KafkaFault> {
        loop {
            self.progress(DRAIN_TIME, watch)?;
            if self.producer.in_flight_count() == 0 {
                // Failures have been reported by then.
                self.check()?;
                self.client_log().clear();
                return Ok(());
            }
        }
    }

    /// Lets the library work for at most this time.
    fn progress(&self, time_max: Duration, watch: &mut Watch<'_>) -> Result<(), KafkaFault> {
        let before = self.producer.in_flight_count();
        let time_max = i32::try_from(time_max.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the producer lives as long as its pointer, and any thread may call this. It returns as soon as nothing is in flight. The
        // wrapper's own `flush` and `poll` spin in the last millisecond of a wait.
        unsafe { rd_kafka_flush(self.producer.client().native_ptr(), time_max) };
        (0..EVENTS_PER_CHECK).for_each(|_| self.producer.poll(Duration::ZERO));
        self.check()?;
        if self.producer.in_flight_count() < before {
            watch.progressed();
            self.client_log().clear();
        }
        watch.check(self.client_log().unreachable())
    }

    /// Returns an error if a record could not be delivered, or the cluster rejects the job.
    fn check(&self) -> Result<(), KafkaFault> {
        let failed = self.producer.context().failed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match failed {
            Some(error) => Err(self.broken(&error)),
            None => self.client_log().rejection().map_or(Ok(()), Err),
        }
    }

    /// Handles a call that timed out: an error if calling again does not help.
    fn check_timeout(&self, error: &KafkaError, watch: &mut Watch<'_>) -> Result<(), KafkaFault> {
        // Error events wait in the queue, between lines of the log.
        self.producer.poll(EVENTS_WITHIN);
        self.check()?;
        let goes_on = match error {
            KafkaError::Transaction(error) => error.is_retriable() && !error.txn_requires_abort() && !error.is_fatal(),
            KafkaError::Flush(Code::OperationTimedOut) => true,
            _ => false,
        };
        if !goes_on {
            return Err(self.broken(error));
        }
        watch.check(self.client_log().unreachable())
    }

    /// Interprets an error for a batch. The end of a transaction does not fail the batch: only the marker says whether another process owns
    /// the sink now.
    fn broken(&self, error: &KafkaError) -> KafkaFault {
        let fault = self.client_log().fault(error);
        let Some(code) = fault.code.filter(|_| self.transactional) else { return fault };
        match code {
            code if ends_transactions(code) => KafkaFault {
                kind: KafkaFaultKind::Transient,
                message: format!(
                    "the cluster has ended the transaction ({}): it took longer than `transaction` allows, or the job was \
                     started twice",
                    fault.message
                ),
                ..fault
            },
            Code::InvalidTransactionTimeout => KafkaFault::permanent(
                "the cluster does not allow transactions of this length (`transaction.max.timeout.ms` of the brokers); \
                 lower `transaction`",
            ),
            _ => fault,
        }
    }

    fn client_log(&self) -> &ClientLog {
        &self.producer.context().client_log
    }
}
