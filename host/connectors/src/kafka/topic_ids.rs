//! Topic ids: a topic that is deleted and created again under the same name has a different one.

use super::fault::KafkaFault;
use rdkafka::bindings as native;
use rdkafka::error::RDKafkaErrorCode;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char};
use std::ptr::NonNull;
use std::time::Duration;

/// An object that the library allocated and the caller must destroy, with the function to do so.
pub(super) struct LibraryOwned<T>(NonNull<T>, unsafe extern "C" fn(*mut T));

impl<T> LibraryOwned<T> {
    pub(super) fn new(pointer: *mut T, destroy: unsafe extern "C" fn(*mut T)) -> Result<LibraryOwned<T>, KafkaFault> {
        let pointer = NonNull::new(pointer).ok_or_else(|| KafkaFault::permanent("the client cannot request topics"))?;
        Ok(LibraryOwned(pointer, destroy))
    }

    pub(super) fn as_ptr(&self) -> *mut T {
        self.0.as_ptr()
    }
}

impl<T> Drop for LibraryOwned<T> {
    fn drop(&mut self) {
        // SAFETY: the library allocated it for the caller to destroy with this very function, which happens here, once.
        unsafe { (self.1)(self.0.as_ptr()) }
    }
}

/// Sends a request about topics and waits for its response, an event of that kind.
///
/// # Safety
/// `client` is a live client of the library, and `send` sends a request of the kind `operation` with it.
pub(super) unsafe fn response_event(
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
    let mut error_buffer = [0; 256];
    // SAFETY: the options live, and the buffer has the declared length.
    unsafe {
        native::rd_kafka_AdminOptions_set_request_timeout(
            options.as_ptr(),
            time_ms,
            error_buffer.as_mut_ptr(),
            error_buffer.len(),
        );
    }
    send(options.as_ptr(), queue.as_ptr());
    // SAFETY: the queue lives; the caller has to destroy the event.
    let event = unsafe { native::rd_kafka_queue_poll(queue.as_ptr(), time_ms) };
    let Some(event) = NonNull::new(event) else { return Err(KafkaFault::transient("the cluster does not respond")) };
    let event = LibraryOwned(event, native::rd_kafka_event_destroy);
    // SAFETY: the event lives.
    let code = RDKafkaErrorCode::from(unsafe { native::rd_kafka_event_error(event.as_ptr()) });
    match code {
        RDKafkaErrorCode::NoError => Ok(event),
        code => Err(KafkaFault::from_code(code, "")),
    }
}

/// Returns the ids of these topics, if the cluster has topic ids (Kafka 2.8 and later) and the topics exist.
///
/// # Safety
/// `client` is a live client of the library.
pub unsafe fn query(
    client: *mut native::rd_kafka_t,
    topics: &[&str],
    time_max: Duration,
) -> Result<BTreeMap<String, (i64, i64)>, KafkaFault> {
    let names: Vec<CString> = topics.iter().filter_map(|topic| CString::new(*topic).ok()).collect();
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    // SAFETY: the names live until the end of this function, and are copied; the caller has to destroy each result.
    let requested = unsafe { native::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len()) };
    let requested = LibraryOwned::new(requested, native::rd_kafka_TopicCollection_destroy)?;
    let operation = native::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
    // SAFETY: the client lives, as the caller promises, and so do the names until the request was sent.
    let event = unsafe {
        response_event(client, operation, time_max, |options, queue| {
            native::rd_kafka_DescribeTopics(client, requested.as_ptr(), options, queue);
        })?
    };
    let mut ids = BTreeMap::new();
    // SAFETY: for an event of another kind the result is null; it, its topics and their contents live as long as the event.
    unsafe {
        let result = native::rd_kafka_event_DescribeTopics_result(event.as_ptr());
        if result.is_null() {
            return Ok(ids);
        }
        let mut count = 0;
        let described = native::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        for index in 0..if described.is_null() { 0 } else { count } {
            let topic = *described.add(index);
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
