//! A server that sends rows for as long as a test needs.

use crate::wait_until;
use std::io::Write;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two rows.
const PAUSE: Duration = Duration::from_millis(1);

/// Sends one line per millisecond to its clients, which may reconnect.
pub struct Feeder {
    port: u16,
    stop: Arc<AtomicBool>,
    stopped: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Feeder {
    /// Listens on a port of 127.0.0.1; `line` returns the line with a number.
    pub fn start(line: impl Fn(u64) -> String + Send + 'static) -> Feeder {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("there is a free port");
        let port = listener.local_addr().expect("it is bound").port();
        listener.set_nonblocking(true).expect("a listener");
        let [stop, stopped, end] = [(); 3].map(|()| Arc::new(AtomicBool::new(false)));
        let sent = Arc::new(AtomicU64::new(0));
        let mut feeder = Feeder {
            port,
            stop: stop.clone(),
            stopped: stopped.clone(),
            sent: sent.clone(),
            end: end.clone(),
            thread: None,
        };
        let thread = std::thread::spawn(move || {
            let (mut clients, mut number) = (Vec::new(), 0);
            while !end.load(Ordering::Acquire) {
                if let Ok((client, _)) = listener.accept() {
                    client.set_nonblocking(false).expect("a client");
                    clients.push(client);
                }
                if !stop.load(Ordering::Acquire) {
                    clients.retain_mut(|client| writeln!(client, "{}", line(number)).is_ok());
                    sent.fetch_add(clients.len() as u64, Ordering::Relaxed);
                    number += 1;
                } else {
                    stopped.store(true, Ordering::Release);
                }
                std::thread::sleep(PAUSE);
            }
        });
        feeder.thread = Some(thread);
        feeder
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Stops sending and returns how many lines were sent. Connections stay open.
    pub fn pause(&self) -> u64 {
        self.stop.store(true, Ordering::Release);
        wait_until("the feeder has stopped", || self.stopped.load(Ordering::Acquire));
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Release);
        self.thread.take().into_iter().for_each(|thread| thread.join().expect("it feeds"));
    }
}
