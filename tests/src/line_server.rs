//! A TCP server that sends a test's lines to the client that connected last.

use crate::{DEADLINE, holds_within, wait_until};
use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Listens on a port of 127.0.0.1 until it is dropped.
pub struct LineServer {
    port: u16,
    clients: Arc<(Mutex<Clients>, Condvar)>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Clients {
    last: Option<TcpStream>,
    /// How many clients have connected.
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
                let mut state = hearing.0.lock().unwrap_or_else(PoisonError::into_inner);
                if state.ended {
                    return;
                }
                // A client that reads nothing holds up no test.
                state.last = client.ok().filter(|client| client.set_write_timeout(Some(DEADLINE)).is_ok());
                state.count += 1;
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

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its host and port.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn connected(&self) -> MutexGuard<'_, Clients> {
        self.clients.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many clients have connected so far.
    pub fn connections(&self) -> usize {
        self.connected().count
    }

    /// Waits until more than `before` clients have connected.
    pub fn wait_for_connection(&self, before: usize) {
        let connected = self.connected();
        let (connected, _) = self
            .clients
            .1
            .wait_timeout_while(connected, DEADLINE, |clients| clients.count <= before)
            .unwrap_or_else(PoisonError::into_inner);
        assert!(connected.count > before, "nobody connected with {}", self.port);
    }

    /// Sends to the last client; whether it could.
    pub fn send(&self, bytes: impl AsRef<[u8]>) -> bool {
        let client = self.connected().last.as_ref().and_then(|client| client.try_clone().ok());
        client.is_some_and(|mut client| client.write_all(bytes.as_ref()).is_ok())
    }

    /// Ends the connection with the last client.
    pub fn hang_up(&self) {
        if let Some(client) = self.connected().last.take() {
            let _ = client.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for LineServer {
    /// Closes the port.
    fn drop(&mut self) {
        self.connected().ended = true;
        self.hang_up();
        // Wakes the thread, once: as soon as the port is free, another test may get it, and would take a second connection for a client.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        let over = || self.accepting.is_finished();
        if !std::thread::panicking() {
            wait_until("the server has ended", over);
        } else {
            let _ = holds_within(DEADLINE, over);
        }
    }
}
