//! Threads and tasks of the host: each has a name, and a panic in one of them is told to whoever needs it. One that ended
//! without a word would leave a job idle, or running without what it promises.

use crate::addresses;
use crate::error::{Error, Kind, Result};
use crate::fault;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{Builder, JoinHandle};

/// Starts a thread. `what` it is, for people; `failed` is called, on the thread, where it ends in a panic.
pub fn start(
    name: &str,
    what: &str,
    failed: impl FnOnce(Error) + Send + 'static,
    work: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>> {
    let (told, point) = (what.to_owned(), name.to_owned());
    let guarded = move || {
        let worked = catch_unwind(AssertUnwindSafe(|| {
            fault::thread(&point);
            work();
        }));
        if let Err(panic) = worked {
            failed(panicked(&told, &*panic));
        }
    };
    let started = Builder::new().name(name.into()).spawn(guarded);
    started.map_err(|error| {
        Error::environment(format!("cannot start a thread for {what}: {error}{}", addresses::advice()))
    })
}

/// The error of a thread or task that ended in a panic.
pub fn panicked(what: &str, panic: &(dyn Any + Send)) -> Error {
    match words(panic) {
        words if is_lost_connection(words) => lost_connection(),
        words => Error::bug(format!("{what} panicked: {words}")),
    }
}

/// Whether these are a panic's words by which timely's threads end when the connection to another process breaks.
pub fn is_lost_connection(words: &str) -> bool {
    let signs = ["timely communication error:", "MergeQueue poisoned", "Send thread panic", "Recv thread panic"];
    signs.iter().any(|sign| words.contains(sign))
}

/// The error that such a panic stands for.
pub fn lost_connection() -> Error {
    Error {
        kind: Kind::Peer,
        message: "the connection to another process of the job broke, so the job cannot go on; see what that process said, and \
                  start all of them again"
            .into(),
    }
}

/// What a panic said.
pub fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use std::sync::mpsc::channel;

    #[test]
    fn a_panic_in_a_thread_is_told_with_its_name_and_words() {
        let (sender, told) = channel();
        let panics = move || assert!(sender.send(()).is_err(), "the words");
        let (errors, failed) = channel();
        let thread = start("test", "the thread of a test", move |error| errors.send(error).unwrap(), panics).unwrap();
        told.recv().unwrap();
        let error = failed.recv().unwrap();
        thread.join().unwrap();
        assert_eq!((error.kind, &*error.message), (Kind::Bug, "the thread of a test panicked: the words"));
    }
}
