//! What a job was asked to do for other processes that take it over, and what supervisors on several machines tell each other of that
//! through the processes of the job.

use super::layout::JobLayout;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Words that wait for the supervisor; it takes them many times a second.
const WORDS_MAX: usize = 8;

/// What supervisors of a job on several machines tell each other. That of process 0 leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HandoverWord {
    /// Start a process that stands by, where the job is to have one of these.
    Prepare(JobLayout),
    /// The job is about to end, and those that stand by take it over.
    HandOver,
    /// End it: the job goes on as it was. Why, for a person to read.
    GiveUp(String),
    /// To the one that leads: the process that stands by has failed.
    Failed(String),
}

/// What a job was asked to do for other processes that take it over.
#[derive(Default)]
pub struct HandoverRequests {
    /// To make a checkpoint soon, so that little is left for the last one.
    soon: AtomicBool,
    /// That checkpoint is there.
    saved: AtomicBool,
    /// To stop, since the others are ready.
    last: AtomicBool,
    heard: Mutex<PeerMessages>,
}

/// What another supervisor has said.
#[derive(Default)]
struct PeerMessages {
    words: VecDeque<HandoverWord>,
    /// The machines that the job is to have.
    next: Option<JobLayout>,
}

impl HandoverRequests {
    /// A checkpoint is wanted soon.
    pub(super) fn want_checkpoint(&self) {
        self.saved.store(false, Ordering::Release);
        self.soon.store(true, Ordering::Release);
    }

    /// The next processes are ready.
    pub(super) fn want_end(&self) {
        self.last.store(true, Ordering::Release);
    }

    /// Whether a checkpoint is wanted soon; each wish is told once.
    pub fn take_soon(&self) -> bool {
        self.soon.load(Ordering::Acquire) && self.soon.swap(false, Ordering::AcqRel)
    }

    /// The checkpoint that was wanted is there, or there was nothing for one.
    pub fn tell_saved(&self) {
        self.saved.store(true, Ordering::Release);
    }

    /// Whether the checkpoint that was wanted last is there.
    pub fn is_saved(&self) -> bool {
        self.saved.load(Ordering::Acquire)
    }

    /// Whether the job is to end for others that take it over.
    pub fn is_last(&self) -> bool {
        self.last.load(Ordering::Acquire)
    }

    /// The supervisor on another machine said this. `false`: more waits for the one here than it can have missed.
    pub fn hear(&self, word: HandoverWord) -> bool {
        let mut heard = self.heard();
        match &word {
            HandoverWord::Prepare(layout) => heard.next = Some(layout.clone()),
            HandoverWord::GiveUp(_) => {
                heard.next = None;
                // It was told that the job is about to end, and others were not.
                self.last.store(false, Ordering::Release);
            }
            HandoverWord::HandOver | HandoverWord::Failed(_) => {}
        }
        let has_room = heard.words.len() < WORDS_MAX;
        if has_room {
            heard.words.push_back(word);
        }
        has_room
    }

    /// What was heard since this was asked last.
    pub fn take_heard(&self) -> Vec<HandoverWord> {
        self.heard().words.drain(..).collect()
    }

    /// The machines that the job is to have.
    pub fn next(&self) -> Option<JobLayout> {
        self.heard().next.clone()
    }

    fn heard(&self) -> MutexGuard<'_, PeerMessages> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
