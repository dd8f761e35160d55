//! Requests about the other processes of the job, over a separate connection with each of them. So a client that
//! queries one process gets the status of all. The job does not depend on these connections. If one breaks, that
//! process gives no response.
//!
//! A message consists of its type, a number, the length of the body, and the body. The body is a request in the format
//! of [`super::ControlQuestion`], or the response to the request of that number. Waiting is limited, and a process can
//! make the other one keep at most one response per request that the other one has sent itself.

use crate::connect::Sealed;
use millstream_base::error::Error;
use millstream_base::threads;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// How long a response is awaited. A client of this process waits longer.
const RESPONSE_TIME_MAX: Duration = Duration::from_secs(3);
/// How long the other process may accept no data.
const SEND_TIME_MAX: Duration = Duration::from_secs(2);
/// Maximum size of a request.
const QUESTION_BYTES_MAX: u32 = 16 << 10;
/// Maximum size of a response.
const RESPONSE_BYTES_MAX: u32 = 16 << 20;
/// The buffer for a response grows by this size as data arrives.
const PIECE_BYTES: usize = 64 << 10;
/// Maximum number of concurrent requests of one process. More get no response.
const REQUESTS_MAX: usize = 4;

const QUESTION: u8 = 1;
const RESPONSE: u8 = 2;
/// Bytes of type, number and length.
const HEAD_BYTES: usize = 13;

/// The other processes of a job that can be queried.
#[derive(Default)]
pub struct OtherProcesses {
    links: BTreeMap<usize, Arc<Link>>,
}

/// The connection with one of them.
struct Link {
    process: usize,
    connection: Sealed,
    /// Held while a message is written, so that messages do not interleave.
    writing: Mutex<()>,
    pending: Mutex<PendingRequests>,
    in_progress: AtomicUsize,
}

/// The requests that this process has sent to another one, and that have no response yet.
#[derive(Default)]
struct PendingRequests {
    last: u64,
    waiting: BTreeMap<u64, oneshot::Sender<Vec<u8>>>,
    closed: bool,
}

impl OtherProcesses {
    /// Creates it from these connections, by process.
    pub fn new(connections: Vec<(usize, Sealed)>) -> OtherProcesses {
        let link = |(process, connection)| {
            let link = Link {
                process,
                connection,
                writing: Mutex::default(),
                pending: Mutex::default(),
                in_progress: AtomicUsize::new(0),
            };
            (process, Arc::new(link))
        };
        OtherProcesses { links: connections.into_iter().map(link).collect() }
    }

    /// Reads the messages of each process on its own thread until the connection ends. `respond` creates the response to
    /// a request, on a thread of this runtime. `failed` is called with a panic.
    pub fn listen(
        &self,
        runtime: &Handle,
        respond: impl Fn(&[u8]) -> Vec<u8> + Clone + Send + Sync + 'static,
        failed: impl Fn(Error) + Clone + Send + Sync + 'static,
    ) -> Vec<JoinHandle<()>> {
        let listen = |link: &Arc<Link>| {
            let (link, runtime) = (link.clone(), runtime.clone());
            let (respond, failing, failed) = (respond.clone(), failed.clone(), failed.clone());
            let listen = move || {
                if let Err(error) = link.listen(&runtime, &respond, &failed) {
                    tracing::warn!(
                        "process {} is no longer queried for its status: it sent an invalid message: {error}",
                        link.process
                    );
                }
                link.close();
            };
            threads::start(
                "millstream-questions",
                "the thread that receives requests of another process",
                failing,
                listen,
            )
        };
        let started = self.links.values().map(listen).collect::<Result<Vec<_>, _>>();
        started.unwrap_or_else(|error| {
            tracing::warn!("the status of the job's processes cannot be queried: {error}");
            self.close();
            Vec::new()
        })
    }

    /// Returns the response of another process, or why there is none.
    pub async fn send_question(&self, process: usize, question: Vec<u8>) -> Result<Vec<u8>, String> {
        let Some(link) = self.links.get(&process).cloned() else {
            return Err(format!("this process has no connection with a process {process}"));
        };
        let (number, response) = link.begin().ok_or("the connection with it has ended")?;
        let sender = link.clone();
        let sent = tokio::task::spawn_blocking(move || sender.send(QUESTION, number, &question)).await;
        let response = match sent {
            Ok(Ok(())) => tokio::time::timeout(RESPONSE_TIME_MAX, response).await,
            Ok(Err(error)) => return Err(format!("the connection with it has ended: {error}")),
            Err(error) => return Err(format!("it could not be queried: {error}")),
        };
        match response {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(_)) => Err("the connection with it has ended".into()),
            Err(_) => {
                link.pending().waiting.remove(&number);
                Err(format!("it has not responded in {RESPONSE_TIME_MAX:?}; it may be stopped"))
            }
        }
    }

    /// Closes all connections, so that nothing waits for them.
    pub fn close(&self) {
        self.links.values().for_each(|link| link.close());
    }
}

impl Link {
    fn pending(&self) -> MutexGuard<'_, PendingRequests> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        let mut pending = self.pending();
        pending.closed = true;
        // Dropping the senders wakes the waiting requests.
        pending.waiting.clear();
        // It may already be closed.
        let _ = self.connection.socket().shutdown(Shutdown::Both);
    }

    /// Returns the number of a new request, and a receiver for the response.
    fn begin(&self) -> Option<(u64, oneshot::Receiver<Vec<u8>>)> {
        let mut pending = self.pending();
        if pending.closed {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        pending.last += 1;
        let number = pending.last;
        pending.waiting.insert(number, sender);
        Some((number, receiver))
    }

    /// Sends a message. If it cannot be sent completely, the connection ends.
    fn send(&self, what: u8, number: u64, bytes: &[u8]) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        let head = [&[what][..], &number.to_le_bytes(), &length.to_le_bytes()].concat();
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut connection = self.connection.clone();
        connection.socket().set_write_timeout(Some(SEND_TIME_MAX))?;
        let sent = connection.write_all(&head).and_then(|()| connection.write_all(bytes));
        if sent.is_err() {
            self.close();
        }
        sent
    }

    /// Reads messages until the connection ends. Fails if one is invalid.
    fn listen(
        self: &Arc<Self>,
        runtime: &Handle,
        respond: &(impl Fn(&[u8]) -> Vec<u8> + Clone + Send + Sync + 'static),
        failed: &(impl Fn(Error) + Clone + Send + Sync + 'static),
    ) -> io::Result<()> {
        let invalid = |message: &str| io::Error::new(ErrorKind::InvalidData, message.to_owned());
        let mut connection = self.connection.clone();
        let mut head = [0; HEAD_BYTES];
        // The loss of the other process is reported elsewhere.
        while connection.read_exact(&mut head).is_ok() {
            let (what, rest) = (head[0], &head[1..]);
            let (number, length) = rest.split_at(8);
            let number = number.try_into().map(u64::from_le_bytes).map_err(io::Error::other)?;
            let length = length.try_into().map(u32::from_le_bytes).map_err(io::Error::other)?;
            match what {
                QUESTION if length <= QUESTION_BYTES_MAX => {
                    let Ok(question) = take(&mut connection, length) else { return Ok(()) };
                    self.respond(number, question, runtime, respond.clone(), failed.clone());
                }
                RESPONSE if length <= RESPONSE_BYTES_MAX => {
                    let Ok(response) = take(&mut connection, length) else { return Ok(()) };
                    // The request may have been canceled.
                    if let Some(waits) = self.pending().waiting.remove(&number) {
                        let _ = waits.send(response);
                    }
                }
                QUESTION | RESPONSE => return Err(invalid("a message that exceeds the size limit")),
                _ => return Err(invalid("a message of an unknown kind")),
            }
        }
        Ok(())
    }

    /// Responds to a request while further messages are read: two processes that query each other must not wait for
    /// each other.
    fn respond(
        self: &Arc<Self>,
        number: u64,
        question: Vec<u8>,
        runtime: &Handle,
        respond: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static,
        failed: impl Fn(Error) + Send + Sync + 'static,
    ) {
        if self.in_progress.fetch_add(1, Ordering::AcqRel) >= REQUESTS_MAX {
            self.in_progress.fetch_sub(1, Ordering::AcqRel);
            return;
        }
        let link = self.clone();
        let in_progress = runtime.spawn_blocking(move || {
            millstream_base::fault::thread("millstream-peer-answer");
            let bytes = respond(&question);
            // The other process may have exited, and would reject a response that is too large.
            if bytes.len() <= RESPONSE_BYTES_MAX as usize {
                let _ = link.send(RESPONSE, number, &bytes);
            }
        });
        let link = self.clone();
        runtime.spawn(async move {
            let ended = in_progress.await;
            link.in_progress.fetch_sub(1, Ordering::AcqRel);
            if let Some(panic) = ended.err().and_then(|error| error.try_into_panic().ok()) {
                failed(threads::panicked("the response to another process", &*panic));
            }
        });
    }
}

/// Reads `length` bytes. The buffer grows as they arrive.
fn take(connection: &mut Sealed, length: u32) -> io::Result<Vec<u8>> {
    let (mut bytes, mut left) = (Vec::new(), length as usize);
    while left > 0 {
        let (from, piece) = (bytes.len(), left.min(PIECE_BYTES));
        bytes.resize(from + piece, 0);
        connection.read_exact(&mut bytes[from..])?;
        left -= piece;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::pair;
    use tokio::runtime::{Builder, Runtime};

    fn runtime() -> Runtime {
        Builder::new_current_thread().enable_all().build().unwrap()
    }

    /// Returns two processes, 0 and 1, that respond with the request, repeated `times` times.
    fn both(times: usize) -> [OtherProcesses; 2] {
        let (near, far) = pair();
        let others = [OtherProcesses::new(vec![(1, near)]), OtherProcesses::new(vec![(0, far)])];
        for own in &others {
            own.listen(&Handle::current(), move |question| question.repeat(times), |error| panic!("{error}"));
        }
        others
    }

    #[test]
    fn both_ask_and_answer_at_once_however_large_answers_are() {
        runtime().block_on(async {
            // Far more than the system buffers.
            let [zero, one] = both(2 << 20);
            for _ in 0..3 {
                let (first, second) =
                    tokio::join!(zero.send_question(1, b"zero".to_vec()), one.send_question(0, b"one!".to_vec()));
                assert_eq!((first.unwrap().len(), second.unwrap().len()), (8 << 20, 8 << 20));
            }
            assert!(zero.send_question(2, Vec::new()).await.unwrap_err().contains("no connection with a process 2"));
            one.close();
            assert!(
                zero.send_question(1, b"zero".to_vec())
                    .await
                    .unwrap_err()
                    .starts_with("the connection with it has ended")
            );
        });
    }

    #[test]
    fn what_is_no_message_ends_the_connection_and_nothing_else() {
        for head in [[9; HEAD_BYTES], [QUESTION; HEAD_BYTES], [255; HEAD_BYTES], {
            let mut reply = [0; HEAD_BYTES];
            (reply[0], reply[12]) = (RESPONSE, 2);
            reply
        }] {
            runtime().block_on(async {
                let (near, mut far) = pair();
                let own = OtherProcesses::new(vec![(1, near)]);
                let threads = own.listen(&Handle::current(), <[u8]>::to_vec, |error| panic!("{error}"));
                far.write_all(&head).unwrap();
                threads.into_iter().for_each(|thread| thread.join().unwrap());
                assert_eq!(own.send_question(1, Vec::new()).await.unwrap_err(), "the connection with it has ended");
            });
        }
    }

    #[test]
    fn who_does_not_answer_is_not_waited_for() {
        runtime().block_on(async {
            let (near, mut far) = pair();
            let own = OtherProcesses::new(vec![(1, near)]);
            own.listen(&Handle::current(), <[u8]>::to_vec, |error| panic!("{error}"));
            let unresponsive = own.send_question(1, b"?".to_vec()).await.unwrap_err();
            assert!(unresponsive.starts_with("it has not responded in"), "{unresponsive}");
            // A response to a canceled request, and one to a request that was never sent.
            for number in [1_u64, 77] {
                let head = [&[RESPONSE][..], &number.to_le_bytes(), &3_u32.to_le_bytes(), b"abc"].concat();
                far.write_all(&head).unwrap();
            }
            let mut question = [0; HEAD_BYTES + 1];
            far.read_exact(&mut question).unwrap();
            assert_eq!(question[HEAD_BYTES], b'?');
            let response = own.send_question(1, b"!".to_vec());
            let in_progress = tokio::task::spawn_blocking(move || {
                far.read_exact(&mut question).unwrap();
                question[0] = RESPONSE;
                far.write_all(&question).unwrap();
            });
            assert_eq!(response.await.unwrap(), b"!");
            in_progress.await.unwrap();
        });
    }
}
