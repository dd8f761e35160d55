//! Which topics are compacted: from those the cluster may delete any record once a later one has the same key.

use super::fault::KafkaFault;
use super::topic_ids::{LibraryOwned, response_event};
use rdkafka::bindings as native;
use rdkafka::error::RDKafkaErrorCode;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::time::Duration;

/// The setting that contains the policy.
const POLICY: &CStr = c"cleanup.policy";

/// Returns whether each of these topics is compacted; the error of a topic says why the cluster does not show it.
///
/// # Safety
/// `client` is a live client of the library.
pub unsafe fn query(
    client: *mut native::rd_kafka_t,
    topics: &[&str],
    time_max: Duration,
) -> Result<BTreeMap<String, Result<bool, RDKafkaErrorCode>>, KafkaFault> {
    let mut resources_list = Vec::new();
    for name in topics.iter().filter_map(|topic| CString::new(*topic).ok()) {
        let kind = native::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC;
        // SAFETY: the name lives during the call, and is copied; the caller has to destroy the result.
        let resource = unsafe { native::rd_kafka_ConfigResource_new(kind, name.as_ptr()) };
        let resource = LibraryOwned::new(resource, native::rd_kafka_ConfigResource_destroy)?;
        // SAFETY: the resource lives; both strings are copied. In a request the name counts and not the value.
        unsafe { native::rd_kafka_ConfigResource_set_config(resource.as_ptr(), POLICY.as_ptr(), c"".as_ptr()) };
        resources_list.push(resource);
    }
    let mut pointers: Vec<_> = resources_list.iter().map(LibraryOwned::as_ptr).collect();
    if pointers.is_empty() {
        return Ok(BTreeMap::new());
    }
    let operation = native::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS;
    // SAFETY: the client lives, as the caller promises, and so do the resources, which are copied.
    let event = unsafe {
        response_event(client, operation, time_max, |options, queue| {
            native::rd_kafka_DescribeConfigs(client, pointers.as_mut_ptr(), pointers.len(), options, queue);
        })?
    };
    let mut policies = BTreeMap::new();
    // SAFETY: for an event of another kind the result is null; it, its resources and their contents live as long as the event.
    unsafe {
        let result = native::rd_kafka_event_DescribeConfigs_result(event.as_ptr());
        if result.is_null() {
            return Ok(policies);
        }
        let mut count = 0;
        let resources = native::rd_kafka_DescribeConfigs_result_resources(result, &mut count);
        for index in 0..if resources.is_null() { 0 } else { count } {
            let resource = *resources.add(index);
            let name = native::rd_kafka_ConfigResource_name(resource);
            if !name.is_null() {
                policies.insert(CStr::from_ptr(name).to_string_lossy().into_owned(), is_compacted(resource));
            }
        }
    }
    Ok(policies)
}

/// Whether the response for one topic says that it is compacted.
///
/// # Safety
/// `resource` is part of a live response.
unsafe fn is_compacted(resource: *const native::rd_kafka_ConfigResource_t) -> Result<bool, RDKafkaErrorCode> {
    // SAFETY: as the caller promises; strings live as long as the response.
    unsafe {
        let code = RDKafkaErrorCode::from(native::rd_kafka_ConfigResource_error(resource));
        if code != RDKafkaErrorCode::NoError {
            return Err(code);
        }
        let mut count = 0;
        let entries = native::rd_kafka_ConfigResource_configs(resource, &mut count);
        for index in 0..if entries.is_null() { 0 } else { count } {
            let entry = *entries.add(index);
            let (name, value) = (native::rd_kafka_ConfigEntry_name(entry), native::rd_kafka_ConfigEntry_value(entry));
            if !name.is_null() && CStr::from_ptr(name) == POLICY && !value.is_null() {
                return Ok(CStr::from_ptr(value).to_string_lossy().split(',').any(|policy| policy.trim() == "compact"));
            }
        }
    }
    // A server compatible with Kafka that does not have the setting.
    Err(RDKafkaErrorCode::UnsupportedVersion)
}
