//! Questions about the other processes of the job, over a connection with each of them that serves nothing else: whoever asks one process how
//! the job stands hears of all. Nothing of the job depends on these connections; one that breaks leaves a process without an answer.
//!
//! A message is what it is, a number, how many bytes follow, and these: a question as [`super::ControlQuestion`] is written, or the answer
//! to the question of that number. Who asks does not wait for long, and nobody makes the other keep more than an answer for each question
//! that it has put itself.

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

/// How long an answer is waited for. Whoever asks this process waits longer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(3);
/// How long the other may take nothing of what is sent.
const SEND_TIME_MAX: Duration = Duration::from_secs(2);
/// A question.
const QUESTION_BYTES_MAX: u32 = 16 << 10;
/// An answer.
const ANSWER_BYTES_MAX: u32 = 16 << 20;
/// What is kept of an answer before more of it has come.
const PIECE_BYTES: usize = 64 << 10;
/// Questions of one process that are answered at a time; more have no answer.
const ANSWERED_MAX: usize = 4;

const QUESTION: u8 = 1;
const ANSWER: u8 = 2;
/// Bytes of what it is, the number and the length.
const HEAD_BYTES: usize = 13;

/// The other processes of a job, as far as they can be asked.
#[derive(Default)]
pub struct OtherProcesses {
    links: BTreeMap<usize, Arc<Link>>,
}

/// The connection with one of them.
struct Link {
    process: usize,
    connection: Sealed,
    /// Held while a message is written, so that no other comes between its pieces.
    writing: Mutex<()>,
    asked: Mutex<PendingRequests>,
    answering: AtomicUsize,
}

/// The requests that this process has sent to another and that are not answered yet.
#[derive(Default)]
struct PendingRequests {
    last: u64,
    waiting: BTreeMap<u64, oneshot::Sender<Vec<u8>>>,
    closed: bool,
}

impl OtherProcesses {
    /// With these connections, by process.
    pub fn new(connections: Vec<(usize, Sealed)>) -> OtherProcesses {
        let link = |(process, connection)| {
            let link = Link {
                process,
                connection,
                writing: Mutex::default(),
                asked: Mutex::default(),
                answering: AtomicUsize::new(0),
            };
            (process, Arc::new(link))
        };
        OtherProcesses { links: connections.into_iter().map(link).collect() }
    }

    /// Hears each of the others on a thread of its own until the connection ends. `answer` makes the answer to a question, on a thread of
    /// this runtime's; `failed` hears of a panic.
    pub fn hear(
        &self,
        runtime: &Handle,
        answer: impl Fn(&[u8]) -> Vec<u8> + Clone + Send + Sync + 'static,
        failed: impl Fn(Error) + Clone + Send + Sync + 'static,
    ) -> Vec<JoinHandle<()>> {
        let hear = |link: &Arc<Link>| {
            let (link, runtime) = (link.clone(), runtime.clone());
            let (answer, failing, failed) = (answer.clone(), failed.clone(), failed.clone());
            let hear = move || {
                if let Err(error) = link.hear(&runtime, &answer, &failed) {
                    tracing::warn!(
                        "process {} is no longer queried for its status: it sent an invalid message: {error}",
                        link.process
                    );
                }
                link.close();
            };
            threads::start("millstream-questions", "the thread that hears another process's questions", failing, hear)
        };
        let started = self.links.values().map(hear).collect::<Result<Vec<_>, _>>();
        started.unwrap_or_else(|error| {
            tracing::warn!("the status of other processes cannot be queried: {error}");
            self.close();
            Vec::new()
        })
    }

    /// The answer of another process, or why there is none.
    pub async fn ask(&self, process: usize, question: Vec<u8>) -> Result<Vec<u8>, String> {
        let Some(link) = self.links.get(&process).cloned() else {
            return Err(format!("this process has no connection with a process {process}"));
        };
        let (number, answer) = link.begin().ok_or("the connection with it has ended")?;
        let asking = link.clone();
        let sent = tokio::task::spawn_blocking(move || asking.send(QUESTION, number, &question)).await;
        let heard = match sent {
            Ok(Ok(())) => tokio::time::timeout(ANSWER_TIME_MAX, answer).await,
            Ok(Err(error)) => return Err(format!("the connection with it has ended: {error}")),
            Err(error) => return Err(format!("it could not be queried: {error}")),
        };
        match heard {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(_)) => Err("the connection with it has ended".into()),
            Err(_) => {
                link.asked().waiting.remove(&number);
                Err(format!("it has not responded in {ANSWER_TIME_MAX:?}; it may be stopped"))
            }
        }
    }

    /// Ends all connections, so that nobody waits for them.
    pub fn close(&self) {
        self.links.values().for_each(|link| link.close());
    }
}

impl Link {
    fn asked(&self) -> MutexGuard<'_, PendingRequests> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        let mut asked = self.asked();
        asked.closed = true;
        // Who waits hears that nothing will come.
        asked.waiting.clear();
        // It may be closed already.
        let _ = self.connection.socket().shutdown(Shutdown::Both);
    }

    /// The number of a new question, and where the answer will be.
    fn begin(&self) -> Option<(u64, oneshot::Receiver<Vec<u8>>)> {
        let mut asked = self.asked();
        if asked.closed {
            return None;
        }
        let (sender, answer) = oneshot::channel();
        asked.last += 1;
        let number = asked.last;
        asked.waiting.insert(number, sender);
        Some((number, answer))
    }

    /// Sends a message. What is left of one that cannot be sent ends the connection.
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

    /// Reads messages until the connection ends; an error where they are none.
    fn hear(
        self: &Arc<Self>,
        runtime: &Handle,
        answer: &(impl Fn(&[u8]) -> Vec<u8> + Clone + Send + Sync + 'static),
        failed: &(impl Fn(Error) + Clone + Send + Sync + 'static),
    ) -> io::Result<()> {
        let wrong = |words: &str| io::Error::new(ErrorKind::InvalidData, words.to_owned());
        let mut connection = self.connection.clone();
        let mut head = [0; HEAD_BYTES];
        // Where the other has gone, its end is told elsewhere.
        while connection.read_exact(&mut head).is_ok() {
            let (what, rest) = (head[0], &head[1..]);
            let (number, length) = rest.split_at(8);
            let number = number.try_into().map(u64::from_le_bytes).map_err(io::Error::other)?;
            let length = length.try_into().map(u32::from_le_bytes).map_err(io::Error::other)?;
            match what {
                QUESTION if length <= QUESTION_BYTES_MAX => {
                    let Ok(question) = take(&mut connection, length) else { return Ok(()) };
                    self.answer(number, question, runtime, answer.clone(), failed.clone());
                }
                ANSWER if length <= ANSWER_BYTES_MAX => {
                    let Ok(answer) = take(&mut connection, length) else { return Ok(()) };
                    // Nobody may wait any more.
                    if let Some(waits) = self.asked().waiting.remove(&number) {
                        let _ = waits.send(answer);
                    }
                }
                QUESTION | ANSWER => return Err(wrong("a message that exceeds the size limit")),
                _ => return Err(wrong("a message of an unknown kind")),
            }
        }
        Ok(())
    }

    /// Answers a question while the next ones are heard: two processes that answer each other at once must not wait for each other.
    fn answer(
        self: &Arc<Self>,
        number: u64,
        question: Vec<u8>,
        runtime: &Handle,
        answer: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static,
        failed: impl Fn(Error) + Send + Sync + 'static,
    ) {
        if self.answering.fetch_add(1, Ordering::AcqRel) >= ANSWERED_MAX {
            self.answering.fetch_sub(1, Ordering::AcqRel);
            return;
        }
        let link = self.clone();
        let answering = runtime.spawn_blocking(move || {
            millstream_base::fault::thread("millstream-peer-answer");
            let bytes = answer(&question);
            // Who has gone needs no answer, and one that is too large would not be taken.
            if bytes.len() <= ANSWER_BYTES_MAX as usize {
                let _ = link.send(ANSWER, number, &bytes);
            }
        });
        let link = self.clone();
        runtime.spawn(async move {
            let ended = answering.await;
            link.answering.fetch_sub(1, Ordering::AcqRel);
            if let Some(panic) = ended.err().and_then(|error| error.try_into_panic().ok()) {
                failed(threads::panicked("the answer to another process's question", &*panic));
            }
        });
    }
}

/// Reads so many bytes; room is made as they come.
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

    /// Two processes, 0 and 1, which answer with what they were asked, many times over.
    fn both(times: usize) -> [OtherProcesses; 2] {
        let (near, far) = pair();
        let others = [OtherProcesses::new(vec![(1, near)]), OtherProcesses::new(vec![(0, far)])];
        for own in &others {
            own.hear(&Handle::current(), move |question| question.repeat(times), |error| panic!("{error}"));
        }
        others
    }

    #[test]
    fn both_ask_and_answer_at_once_however_large_answers_are() {
        runtime().block_on(async {
            // Far more than the system keeps of what was sent and not read.
            let [zero, one] = both(2 << 20);
            for _ in 0..3 {
                let (first, second) = tokio::join!(zero.ask(1, b"zero".to_vec()), one.ask(0, b"one!".to_vec()));
                assert_eq!((first.unwrap().len(), second.unwrap().len()), (8 << 20, 8 << 20));
            }
            assert!(zero.ask(2, Vec::new()).await.unwrap_err().contains("no connection with a process 2"));
            one.close();
            assert!(zero.ask(1, b"zero".to_vec()).await.unwrap_err().starts_with("the connection with it has ended"));
        });
    }

    #[test]
    fn what_is_no_message_ends_the_connection_and_nothing_else() {
        for head in [[9; HEAD_BYTES], [QUESTION; HEAD_BYTES], [255; HEAD_BYTES], {
            let mut answer = [0; HEAD_BYTES];
            (answer[0], answer[12]) = (ANSWER, 2);
            answer
        }] {
            runtime().block_on(async {
                let (near, mut far) = pair();
                let own = OtherProcesses::new(vec![(1, near)]);
                let threads = own.hear(&Handle::current(), <[u8]>::to_vec, |error| panic!("{error}"));
                far.write_all(&head).unwrap();
                threads.into_iter().for_each(|thread| thread.join().unwrap());
                assert_eq!(own.ask(1, Vec::new()).await.unwrap_err(), "the connection with it has ended");
            });
        }
    }

    #[test]
    fn who_does_not_answer_is_not_waited_for() {
        runtime().block_on(async {
            let (near, mut far) = pair();
            let own = OtherProcesses::new(vec![(1, near)]);
            own.hear(&Handle::current(), <[u8]>::to_vec, |error| panic!("{error}"));
            let silent = own.ask(1, b"?".to_vec()).await.unwrap_err();
            assert!(silent.starts_with("it has not responded in"), "{silent}");
            // An answer to what nobody asks any more, and to what nobody asked.
            for number in [1_u64, 77] {
                let head = [&[ANSWER][..], &number.to_le_bytes(), &3_u32.to_le_bytes(), b"abc"].concat();
                far.write_all(&head).unwrap();
            }
            let mut question = [0; HEAD_BYTES + 1];
            far.read_exact(&mut question).unwrap();
            assert_eq!(question[HEAD_BYTES], b'?');
            let asking = own.ask(1, b"!".to_vec());
            let answering = tokio::task::spawn_blocking(move || {
                far.read_exact(&mut question).unwrap();
                question[0] = ANSWER;
                far.write_all(&question).unwrap();
            });
            assert_eq!(asking.await.unwrap(), b"!");
            answering.await.unwrap();
        });
    }
}
