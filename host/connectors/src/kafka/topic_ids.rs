//! The ids of topics: a topic that is deleted and made again under the same name has another one.

use super::fault::KafkaFault;
use rdkafka::bindings as native;
use rdkafka::error::RDKafkaErrorCode;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char};
use std::ptr::NonNull;
use std::time::Duration;

/// What the library has made and somebody has to take away, with the function that does.
pub(super) struct LibraryOwned<T>(NonNull<T>, unsafe extern "C" fn(*mut T));

impl<T> LibraryOwned<T> {
    pub(super) fn new(made: *mut T, destroy: unsafe extern "C" fn(*mut T)) -> Result<LibraryOwned<T>, KafkaFault> {
        let made = NonNull::new(made).ok_or_else(|| KafkaFault::lasting("the client cannot ask for topics"))?;
        Ok(LibraryOwned(made, destroy))
    }

    pub(super) fn as_ptr(&self) -> *mut T {
        self.0.as_ptr()
    }
}

impl<T> Drop for LibraryOwned<T> {
    fn drop(&mut self) {
        // SAFETY: the library made it for the caller to destroy with this very function, which happens here, once.
        unsafe { (self.1)(self.0.as_ptr()) }
    }
}

/// Sends a request about topics and waits for its answer, an event of that kind.
///
/// # Safety
/// `client` is a client of the library that lives, and `send` sends a request of the kind `operation` with it.
pub(super) unsafe fn answer(
    client: *mut native::rd_kafka_t,
    operation: native::rd_kafka_admin_op_t,
    time_max: Duration,
    send: impl FnOnce(*const native::rd_kafka_AdminOptions_t, *mut native::rd_kafka_queue_t),
) -> Result<LibraryOwned<native::rd_kafka_event_t>, KafkaFault> {
    let time_ms = i32::try_from(time_max.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the client lives, as the caller promises.
    let queue = unsafe { native::rd_kafka_queue_new(client) };
    let queue = LibraryOwned::new(queue, native::rd_kafka_queue_destroy)?;
    // SAFETY: as above.
    let options = unsafe { native::rd_kafka_AdminOptions_new(client, operation) };
    let options = LibraryOwned::new(options, native::rd_kafka_AdminOptions_destroy)?;
    let mut words = [0; 256];
    // SAFETY: the options live, and the buffer has the length that is told.
    unsafe {
        native::rd_kafka_AdminOptions_set_request_timeout(options.as_ptr(), time_ms, words.as_mut_ptr(), words.len());
    }
    send(options.as_ptr(), queue.as_ptr());
    // SAFETY: the queue lives; the event is for the caller to destroy.
    let event = unsafe { native::rd_kafka_queue_poll(queue.as_ptr(), time_ms) };
    let Some(event) = NonNull::new(event) else { return Err(KafkaFault::passing("the cluster does not respond")) };
    let event = LibraryOwned(event, native::rd_kafka_event_destroy);
    // SAFETY: the event lives.
    let code = RDKafkaErrorCode::from(unsafe { native::rd_kafka_event_error(event.as_ptr()) });
    match code {
        RDKafkaErrorCode::NoError => Ok(event),
        code => Err(KafkaFault::told(code, "")),
    }
}

/// The ids of these topics, as far as the cluster has such (Kafka 2.8 and later) and the topics are there.
///
/// # Safety
/// `client` is a client of the library that lives.
pub unsafe fn ask(
    client: *mut native::rd_kafka_t,
    topics: &[&str],
    time_max: Duration,
) -> Result<BTreeMap<String, (i64, i64)>, KafkaFault> {
    let names: Vec<CString> = topics.iter().filter_map(|topic| CString::new(*topic).ok()).collect();
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    // SAFETY: the names live until the end of this function, and are copied; each result is for the caller to destroy.
    let asked = unsafe { native::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len()) };
    let asked = LibraryOwned::new(asked, native::rd_kafka_TopicCollection_destroy)?;
    let operation = native::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
    // SAFETY: the client lives, as the caller promises, and so do the names until the request was sent.
    let event = unsafe {
        answer(client, operation, time_max, |options, queue| {
            native::rd_kafka_DescribeTopics(client, asked.as_ptr(), options, queue);
        })?
    };
    let mut ids = BTreeMap::new();
    // SAFETY: of an event of another kind the result is null; it, its topics, and what is in them live as long as the event.
    unsafe {
        let result = native::rd_kafka_event_DescribeTopics_result(event.as_ptr());
        if result.is_null() {
            return Ok(ids);
        }
        let mut count = 0;
        let described = native::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        for place in 0..if described.is_null() { 0 } else { count } {
            let topic = *described.add(place);
            let (name, id) =
                (native::rd_kafka_TopicDescription_name(topic), native::rd_kafka_TopicDescription_topic_id(topic));
            if name.is_null() || id.is_null() {
                continue;
            }
            let bits =
                (native::rd_kafka_Uuid_most_significant_bits(id), native::rd_kafka_Uuid_least_significant_bits(id));
            if bits != (0, 0) {
                ids.insert(CStr::from_ptr(name).to_string_lossy().into_owned(), bits);
            }
        }
    }
    Ok(ids)
}
