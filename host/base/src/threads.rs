//! Threads and tasks of the host: each has a name, and a panic in one of them is reported. One that ended silently would leave a job idle, or
//! running without its guarantees.

use crate::addresses;
use crate::error::{Error, Kind, Result};
use crate::fault;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{Builder, JoinHandle};

/// Starts a thread. `what` describes it for people; `failed` is called on the thread if it panics.
pub fn start(
    name: &str,
    what: &str,
    failed: impl FnOnce(Error) + Send + 'static,
    work: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>> {
    let (description, point) = (what.to_owned(), name.to_owned());
    let guarded = move || {
        let worked = catch_unwind(AssertUnwindSafe(|| {
            fault::thread(&point);
            work();
        }));
        if let Err(panic) = worked {
            failed(panicked(&description, &*panic));
        }
    };
    let started = Builder::new().name(name.into()).spawn(guarded);
    started.map_err(|error| {
        Error::environment(format!("cannot start a thread for {what}: {error}{}", addresses::advice()))
    })
}

/// Returns the error of a thread or task that panicked.
pub fn panicked(what: &str, panic: &(dyn Any + Send)) -> Error {
    match message(panic) {
        message if is_connection_loss(message) => lost_connection(),
        message => Error::bug(format!("{what} panicked: {message}")),
    }
}

/// Returns whether this is the message of a panic by which timely's threads end when the connection to another process breaks.
pub fn is_connection_loss(message: &str) -> bool {
    let signs = ["timely communication error:", "MergeQueue poisoned", "Send thread panic", "Recv thread panic"];
    signs.iter().any(|sign| message.contains(sign))
}

/// Returns the error for such a panic.
pub fn lost_connection() -> Error {
    Error {
        kind: Kind::Peer,
        message: "the connection to another process of the job broke, so the job cannot continue; see the log of \
                  that process, and restart all processes"
            .into(),
    }
}

/// Returns the message of a panic.
pub fn message(panic: &(dyn Any + Send)) -> &str {
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
        let (sender, receiver) = channel();
        let panics = move || assert!(sender.send(()).is_err(), "the words");
        let (errors, failed) = channel();
        let thread = start("test", "the thread of a test", move |error| errors.send(error).unwrap(), panics).unwrap();
        receiver.recv().unwrap();
        let error = failed.recv().unwrap();
        thread.join().unwrap();
        assert_eq!((error.kind, &*error.message), (Kind::Bug, "the thread of a test panicked: the words"));
    }
}
