//! A producer: what is sent to a cluster, and the transaction of a batch.

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

/// How long one call of the library waits; it is called again.
const STEP: Duration = Duration::from_millis(500);
/// A call that is only to begin with something.
const AT_ONCE: Duration = Duration::from_millis(1);
/// How long a transaction that failed may take to be aborted. The next start of the sink aborts it as well.
const ABORT_TIME_MAX: Duration = Duration::from_secs(1);
/// How often what was delivered is asked for while records are handed over.
const RECORDS_PER_POLL: usize = 1_000;
/// What a client has to tell is there within this time.
const EVENTS_WITHIN: Duration = Duration::from_millis(20);
/// How long the library is waited for before anything else is looked at: for room, and for the rest.
const ROOM_TIME: Duration = Duration::from_millis(5);
const DRAIN_TIME: Duration = Duration::from_millis(50);
/// What is heard of the client's log and of records that were not delivered, before it is waited for again.
const EVENTS_PER_LOOK: usize = 10;

/// A connection to the cluster under the sink's name: nobody else writes under it, and who comes later ends the one before.
pub(super) struct Session {
    producer: BaseProducer<Deliveries>,
    transactional: bool,
    /// A transaction was begun, and not committed.
    open: bool,
}

/// Whether a cluster tells so that a transaction is over, and not by its own hand: it took too long, or somebody else began one under
/// the same name. That a broker does not know what went wrong is one of these: brokers say so where they end a transaction at the
/// moment at which it is committed.
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

/// Where the records of a batch go.
pub(super) struct Batch<'a> {
    pub topic: &'a str,
    pub records: &'a Records,
    /// Topic, key and value of the marker, where there is one.
    pub marker: Option<(&'a str, &'a str, Vec<u8>)>,
}

/// What the client tells, and the first record that was not delivered.
#[derive(Default)]
struct Deliveries {
    told: ClientLog,
    failed: Mutex<Option<KafkaError>>,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        // What ends a transaction is told by whoever begins it anew.
        let level = if facility == "TXNERR" { RDKafkaLogLevel::Info } else { level };
        self.told.log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.told.error(error, reason);
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
    /// Connects; with transactions, it ends those of whoever had the sink before, and nobody else can commit from then on.
    pub fn begin(config: &ClientConfig, watch: &mut Watch<'_>) -> Result<Session, KafkaFault> {
        let session = Session::connect(config)?;
        session.await_begin(watch)?;
        Ok(session)
    }

    /// Ends the transactions under several names, all at once: nobody can commit what was begun under them.
    pub fn end_others(configs: &[ClientConfig], watch: &mut Watch<'_>) -> Result<(), KafkaFault> {
        let sessions = configs.iter().map(Session::connect).collect::<Result<Vec<_>, _>>()?;
        for session in &sessions {
            // The library is at it from then on; whether it works is seen when it is waited for.
            let _ = session.producer.init_transactions(AT_ONCE);
        }
        sessions.iter().try_for_each(|session| session.await_begin(watch))
    }

    fn connect(config: &ClientConfig) -> Result<Session, KafkaFault> {
        let transactional = config.get("transactional.id").is_some();
        let producer = config.create_with_context(Deliveries::default()).map_err(|error| KafkaFault::of(&error))?;
        Ok(Session { producer, transactional, open: false })
    }

    fn await_begin(&self, watch: &mut Watch<'_>) -> Result<(), KafkaFault> {
        while self.transactional
            && let Err(error) = self.producer.init_transactions(STEP)
        {
            self.again(&error, watch)?;
        }
        self.told().well();
        Ok(())
    }

    /// Sends the records of a batch, and waits until the cluster has them: with transactions, all of them and the marker or none.
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

    /// Ends it. What was begun is given up, so that readers do not wait for it.
    pub fn end(self) {
        if self.open {
            // Where the cluster does not hear it, whoever begins next under this name does it, or time does.
            let _ = self.producer.abort_transaction(ABORT_TIME_MAX);
        }
    }

    fn commit(&mut self, watch: &mut Watch<'_>) -> Result<(), KafkaFault> {
        loop {
            match self.producer.commit_transaction(STEP) {
                Ok(()) => break,
                // The call goes on where it was.
                Err(error) => self.again(&error, watch)?,
            }
        }
        self.open = false;
        Ok(())
    }

    /// Hands a record to the library, once there is room for it.
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

    /// Waits until the cluster has all that was handed over.
    fn drain(&self, watch: &mut Watch<'_>) -> Result<(), KafkaFault> {
        loop {
            self.progress(DRAIN_TIME, watch)?;
            if self.producer.in_flight_count() == 0 {
                // What failed is told by then.
                self.check()?;
                self.told().well();
                return Ok(());
            }
        }
    }

    /// Lets the library go on, for no longer than this.
    fn progress(&self, time_max: Duration, watch: &mut Watch<'_>) -> Result<(), KafkaFault> {
        let before = self.producer.in_flight_count();
        let time_max = i32::try_from(time_max.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the producer lives as long as its pointer, and any thread may call this. It returns as soon as nothing is in flight;
        // the wrapper's own `flush` and `poll` look again and again in the last millisecond of a wait, without a pause.
        unsafe { rd_kafka_flush(self.producer.client().native_ptr(), time_max) };
        (0..EVENTS_PER_LOOK).for_each(|_| self.producer.poll(Duration::ZERO));
        self.check()?;
        if self.producer.in_flight_count() < before {
            watch.moved();
            self.told().well();
        }
        watch.look(self.told().away())
    }

    /// An error where a record could not be delivered, or the cluster does not let the job in.
    fn check(&self) -> Result<(), KafkaFault> {
        let failed = self.producer.context().failed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match failed {
            Some(error) => Err(self.broken(&error)),
            None => self.told().refusal().map_or(Ok(()), Err),
        }
    }

    /// A call has not ended in its time: an error where it does not help to call again.
    fn again(&self, error: &KafkaError, watch: &mut Watch<'_>) -> Result<(), KafkaFault> {
        // What is wrong waits in its queue, with lines of the log in between.
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
        watch.look(self.told().away())
    }

    /// What an error means for a batch. What ends a transaction is no reason to give up the batch: whether somebody else has the
    /// sink now is said by the marker alone.
    fn broken(&self, error: &KafkaError) -> KafkaFault {
        let fault = self.told().fault(error);
        let Some(code) = fault.code.filter(|_| self.transactional) else { return fault };
        match code {
            code if ends_transactions(code) => KafkaFault {
                kind: KafkaFaultKind::Passing,
                message: format!(
                    "the cluster has ended the transaction ({}): it took longer than `transaction` allows, or the job was \
                     started twice",
                    fault.message
                ),
                ..fault
            },
            Code::InvalidTransactionTimeout => KafkaFault::lasting(
                "the cluster does not allow transactions to take so long (`transaction.max.timeout.ms` of the brokers); \
                 lower `transaction`",
            ),
            _ => fault,
        }
    }

    fn told(&self) -> &ClientLog {
        &self.producer.context().told
    }
}
