//! Ports of 127.0.0.1 for what tests start.
//!
//! They are below the system's ephemeral ports. Concurrent test processes take them from blocks that each process locks. So no
//! other process can take a port between the moment it is chosen and the moment it is used.

use socket2::{Domain, Socket, Type};
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, PoisonError};

const FIRST: u16 = 10_000;
const BLOCK: u16 = 50;
const BLOCKS: u16 = 400;

/// The blocks of this process, locked until it exits, and the unused ports of the last block.
static OWN: Mutex<(Vec<File>, Range<u16>)> = Mutex::new((Vec::new(), 0..0));

/// Returns a port that nothing listens on. No port is returned twice.
pub fn free_port() -> u16 {
    let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let (locks, ports) = &mut *own;
        if let Some(port) = ports.find(|port| nobody_listens(*port)) {
            return port;
        }
        let (lock, block) = block();
        locks.push(lock);
        *ports = FIRST + block * BLOCK..FIRST + (block + 1) * BLOCK;
    }
}

/// Whether a server could listen on this port. The probing socket never listens itself. A process that another thread is starting
/// has a copy of it for a moment, and no server could listen in that time.
fn nobody_listens(port: u16) -> bool {
    let tried = Socket::new(Domain::IPV4, Type::STREAM, None).and_then(|socket| {
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddrV4::new(Ipv4Addr::LOCALHOST, port).into())
    });
    tried.is_ok()
}

/// A block that no process has.
fn block() -> (File, u16) {
    // Another user's files cannot be locked.
    let user = std::fs::metadata("/proc/self").expect("a process has an owner").uid();
    let dir = std::env::temp_dir().join(format!("millstream-test-ports-{user}"));
    std::fs::create_dir_all(&dir).expect("there is a folder for locks");
    // Processes that start one after another begin at different blocks, as the ports used last may not be released yet.
    let first = (std::process::id() % u32::from(BLOCKS)) as u16 * 37;
    let blocks = (0..BLOCKS).map(|at| (first + at) % BLOCKS);
    let mut free = blocks.filter_map(|block| {
        let lock = File::create(dir.join(block.to_string())).expect("there is a file to lock");
        lock.try_lock().is_ok().then_some((lock, block))
    });
    free.next().expect("a block of ports is free")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::process::Command;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    #[test]
    fn a_free_port_stays_free_while_processes_start() {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        Command::new("true").status().expect("`true` can be started");
                    }
                });
            }
            let listening = || TcpListener::bind(("127.0.0.1", free_port()));
            let refused = (0..1000).find_map(|_| listening().err());
            done.store(true, Ordering::Relaxed);
            assert!(refused.is_none(), "{refused:?}");
        });
    }

    #[test]
    fn a_port_in_use_is_not_free() {
        let listener = TcpListener::bind(("127.0.0.1", free_port())).expect("it is free");
        assert!(!nobody_listens(listener.local_addr().expect("it is bound").port()));
    }
}
