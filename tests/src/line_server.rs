//! A TCP server that sends what a test tells it, to whoever connected last.

use crate::{DEADLINE, holds_within, until};
use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Listens on a port of 127.0.0.1 for as long as it lives.
pub struct LineServer {
    port: u16,
    clients: Arc<(Mutex<Clients>, Condvar)>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Clients {
    last: Option<TcpStream>,
    /// How many have connected.
    count: usize,
    ended: bool,
}

impl LineServer {
    /// On any port.
    pub fn start() -> LineServer {
        LineServer::start_at(0)
    }

    /// On this port.
    pub fn start_at(port: u16) -> LineServer {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let clients: Arc<(Mutex<Clients>, Condvar)> = Arc::default();
        let hearing = clients.clone();
        let accepting = std::thread::spawn(move || {
            for client in listener.incoming() {
                let mut held = hearing.0.lock().unwrap_or_else(PoisonError::into_inner);
                if held.ended {
                    return;
                }
                held.last = client.ok();
                held.count += 1;
                hearing.1.notify_all();
            }
        });
        LineServer { port, clients, accepting }
    }

    /// On a port that `fits`.
    pub fn start_where(fits: impl Fn(u16) -> bool) -> LineServer {
        loop {
            let server = LineServer::start();
            if fits(server.port) {
                return server;
            }
        }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The same as host and port.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn held(&self) -> MutexGuard<'_, Clients> {
        self.clients.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many clients have connected so far.
    pub fn connections(&self) -> usize {
        self.held().count
    }

    /// Waits until there were more than so many.
    pub fn until_connected(&self, before: usize) {
        let held = self.held();
        let (held, _) = self
            .clients
            .1
            .wait_timeout_while(held, DEADLINE, |clients| clients.count <= before)
            .unwrap_or_else(PoisonError::into_inner);
        assert!(held.count > before, "nobody connected with {}", self.port);
    }

    /// Sends to the last client; whether it could.
    pub fn send(&self, bytes: impl AsRef<[u8]>) -> bool {
        let client = self.held().last.as_ref().and_then(|client| client.try_clone().ok());
        client.is_some_and(|mut client| client.write_all(bytes.as_ref()).is_ok())
    }

    /// Ends the connection with the last client.
    pub fn hang_up(&self) {
        if let Some(client) = self.held().last.take() {
            let _ = client.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for LineServer {
    /// From then on nobody listens on its port.
    fn drop(&mut self) {
        self.held().ended = true;
        self.hang_up();
        // Wakes the thread, once: as soon as the port is free, another test may get it, and would take a second connection for a client.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        let over = || self.accepting.is_finished();
        if !std::thread::panicking() {
            until("the server has ended", over);
        } else {
            let _ = holds_within(DEADLINE, over);
        }
    }
}
