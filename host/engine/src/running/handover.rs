//! Requests to a job whose successor processes are about to take it over, and the messages that supervisors on several machines exchange about that
//! through the processes of the job.

use super::layout::JobLayout;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Maximum messages queued for the supervisor, which takes them many times per second.
const MESSAGES_MAX: usize = 8;

/// A message between supervisors of a job on several machines. The one of process 0 leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HandoverMessage {
    /// Start a standby process if this machine is part of the layout.
    Prepare(JobLayout),
    /// The job is about to end, and the standby processes take it over.
    HandOver,
    /// Cancel: the job continues unchanged. The reason, for a person to read.
    GiveUp(String),
    /// To the leader: the standby process has failed.
    Failed(String),
}

/// Requests to a job whose successor processes take it over.
#[derive(Default)]
pub struct HandoverRequests {
    /// Make a checkpoint soon, so that little is left for the last one.
    soon: AtomicBool,
    /// That checkpoint has been written.
    saved: AtomicBool,
    /// Stop, since the successors are ready.
    last: AtomicBool,
    received: Mutex<PeerMessages>,
}

/// Messages received from other supervisors.
#[derive(Default)]
struct PeerMessages {
    messages: VecDeque<HandoverMessage>,
    /// The layout that the job is about to get.
    next: Option<JobLayout>,
}

impl HandoverRequests {
    /// Requests a checkpoint soon.
    pub(super) fn request_early_checkpoint(&self) {
        self.saved.store(false, Ordering::Release);
        self.soon.store(true, Ordering::Release);
    }

    /// Requests the end of the job, as the successors are ready.
    pub(super) fn request_end(&self) {
        self.last.store(true, Ordering::Release);
    }

    /// Returns whether a checkpoint is requested soon, and clears the request.
    pub fn take_checkpoint_request(&self) -> bool {
        self.soon.load(Ordering::Acquire) && self.soon.swap(false, Ordering::AcqRel)
    }

    /// Reports that the requested checkpoint was written, or that none was necessary.
    pub fn report_saved(&self) {
        self.saved.store(true, Ordering::Release);
    }

    /// Returns whether the checkpoint requested last has been written.
    pub fn is_saved(&self) -> bool {
        self.saved.load(Ordering::Acquire)
    }

    /// Returns whether the job is to end because successors take it over.
    pub fn is_last(&self) -> bool {
        self.last.load(Ordering::Acquire)
    }

    /// Queues a message of the supervisor on another machine. Returns `false` if the queue of the supervisor here is full.
    pub fn receive(&self, message: HandoverMessage) -> bool {
        let mut received = self.received();
        match &message {
            HandoverMessage::Prepare(layout) => received.next = Some(layout.clone()),
            HandoverMessage::GiveUp(_) => {
                received.next = None;
                // This process received `HandOver`, others did not.
                self.last.store(false, Ordering::Release);
            }
            HandoverMessage::HandOver | HandoverMessage::Failed(_) => {}
        }
        let has_room = received.messages.len() < MESSAGES_MAX;
        if has_room {
            received.messages.push_back(message);
        }
        has_room
    }

    /// Returns the messages received since the previous call.
    pub fn take_received(&self) -> Vec<HandoverMessage> {
        self.received().messages.drain(..).collect()
    }

    /// Returns the layout that the job is about to get.
    pub fn next(&self) -> Option<JobLayout> {
        self.received().next.clone()
    }

    fn received(&self) -> MutexGuard<'_, PeerMessages> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
