//! Machines as network namespaces. Each has a tun device as its network card, whose other end is a switch in this process. So the
//! test decides which packet arrives, and when. The namespaces have no names visible to others, and disappear with this process.

use super::{Fate, Ways};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const LOOK_EVERY_MS: i32 = 100;
const PACKET_BYTES_MAX: usize = 2048;
/// The offset of the last byte of the destination address in an IP packet.
const TO: usize = 19;

/// The address of a machine.
pub fn address(machine: usize) -> String {
    format!("10.83.0.{}", machine + 1)
}

/// The cards, and the switch between them.
pub struct Cards {
    namespaces: Vec<File>,
    ended: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// A packet in transit and its arrival time; packets that arrive at the same time keep their order.
type InTransit = Reverse<(Instant, u64, usize, Vec<u8>)>;

impl Cards {
    /// Needs the rights of root, and `/dev/net/tun`.
    pub fn new(ways: &Arc<Ways>) -> io::Result<Cards> {
        let (mut namespaces, mut cards) = (Vec::new(), Vec::new());
        for machine in 0..ways.machines {
            let made = thread::spawn(move || make(machine)).join().expect("it does not panic");
            let (namespace, card) = made?;
            namespaces.push(namespace);
            cards.push(Arc::new(card));
        }
        let ended = Arc::new(AtomicBool::new(false));
        let (sender, late) = channel();
        let mut threads = Vec::new();
        for from in 0..ways.machines {
            let (cards, ways, ended, sender) = (cards.clone(), ways.clone(), ended.clone(), sender.clone());
            threads.push(thread::spawn(move || switch(from, &cards, &ways, &ended, &sender)));
        }
        threads.push(thread::spawn(move || deliver(&late, &cards)));
        Ok(Cards { namespaces, ended, threads })
    }

    /// Makes a command run on this machine.
    pub fn place(&self, machine: usize, command: &mut Command) {
        let namespace = self.namespaces[machine].as_raw_fd();
        // SAFETY: between fork and exec only one system call is made, with a file that stays open for as long as the machine
        // exists.
        unsafe { command.pre_exec(move || enter(namespace)) };
    }
}

impl Drop for Cards {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn enter(namespace: RawFd) -> io::Result<()> {
    // SAFETY: it takes two numbers.
    if unsafe { libc::setns(namespace, libc::CLONE_NEWNET) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes a namespace for the thread that calls this, with its card: the namespace, and the other end of the card.
fn make(machine: usize) -> io::Result<(File, File)> {
    let message = |what: &'static str| move |error: io::Error| io::Error::new(error.kind(), format!("{what}: {error}"));
    // SAFETY: it takes a number. Only this thread is in another namespace afterwards, and what it starts.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return Err(message("no network namespace")(io::Error::last_os_error()));
    }
    let namespace = File::open("/proc/thread-self/ns/net")?;
    let card = File::options().read(true).write(true).open("/dev/net/tun").map_err(message("/dev/net/tun"))?;
    // SAFETY: all zeroes are a request.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(*b"eth0") {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the request outlives the call, which writes only a name into it.
    if unsafe { libc::ioctl(card.as_raw_fd(), libc::TUNSETIFF, &raw mut request) } < 0 {
        return Err(message("no tun device")(io::Error::last_os_error()));
    }
    let own = format!("{}/24", address(machine));
    for text in
        [&["addr", "add", &own, "dev", "eth0"][..], &["link", "set", "eth0", "up"], &["link", "set", "lo", "up"]]
    {
        let ended = Command::new("ip").args(text).output()?;
        if !ended.status.success() {
            return Err(io::Error::other(format!("ip {text:?}: {}", String::from_utf8_lossy(&ended.stderr))));
        }
    }
    Ok((namespace, card))
}

/// Takes what a machine sends.
fn switch(from: usize, cards: &[Arc<File>], ways: &Ways, ended: &AtomicBool, late: &Sender<(Instant, usize, Vec<u8>)>) {
    let mut packet = [0; PACKET_BYTES_MAX];
    while !ended.load(Ordering::Relaxed) {
        let mut waits = libc::pollfd { fd: cards[from].as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: `poll` gets one file, which is open.
        if unsafe { libc::poll(&raw mut waits, 1, LOOK_EVERY_MS) } <= 0 {
            continue;
        }
        let Ok(count) = (&*cards[from]).read(&mut packet) else { continue };
        let packet = &packet[..count];
        // Version 4, and one of us.
        let to = packet.get(TO).filter(|_| packet[0] >> 4 == 4).and_then(|last| usize::from(*last).checked_sub(1));
        let Some(to) = to.filter(|to| *to < cards.len()) else { continue };
        match ways.fate(from, to) {
            Fate::Lost => {}
            // A packet that the card does not accept is lost.
            Fate::Arrives(Duration::ZERO) => drop((&*cards[to]).write(packet)),
            Fate::Arrives(delay) => drop(late.send((Instant::now() + delay, to, packet.to_vec()))),
        }
    }
}

/// Brings what is late.
fn deliver(late: &Receiver<(Instant, usize, Vec<u8>)>, cards: &[Arc<File>]) {
    let mut under_way: BinaryHeap<InTransit> = BinaryHeap::new();
    let mut number = 0;
    loop {
        let now = Instant::now();
        while under_way.peek().is_some_and(|Reverse((at, ..))| *at <= now) {
            let Some(Reverse((_, _, to, packet))) = under_way.pop() else { break };
            let _ = (&*cards[to]).write(&packet);
        }
        let next =
            under_way.peek().map_or(Duration::from_secs(3600), |Reverse((at, ..))| at.saturating_duration_since(now));
        match late.recv_timeout(next) {
            Ok((at, to, packet)) => {
                number += 1;
                under_way.push(Reverse((at, number, to, packet)));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
