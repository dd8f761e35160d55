//! Peers that hear datagrams, or send them.

use super::Shared;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long nothing has come when all is heard that was sent on this machine.
const QUIET: Duration = Duration::from_millis(50);
/// The longest datagram.
const DATAGRAM_BYTES_MAX: usize = 1 << 16;

/// Hears datagrams, and answers who sent them.
pub fn serve(shared: &Shared, socket: &UdpSocket) {
    let mut bytes = vec![0; DATAGRAM_BYTES_MAX];
    if let Err(error) = socket.set_read_timeout(Some(QUIET)) {
        return shared.fails(format!("it cannot wait: {error}"));
    }
    while !shared.stops.load(Ordering::Acquire) {
        // Whoever sent one may not hear the answer any more, which is told here as an error.
        let Ok((count, sender)) = socket.recv_from(&mut bytes) else {
            shared.state().idle += 1;
            shared.changed.notify_all();
            continue;
        };
        let Some(reply) = shared.hear(bytes.get(..count).unwrap_or_default()) else { continue };
        for record in reply.records.iter().skip(reply.from) {
            let _ = socket.send_to(record, sender);
        }
    }
}

/// Sends all that a script says without being asked, a datagram a record.
pub fn send(shared: &Shared, to: SocketAddr) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("a datagram could not be sent: {error}");
    let socket = UdpSocket::bind((to.ip(), 0)).map_err(failed)?;
    for record in shared.greeting()?.records {
        socket.send_to(&record, to).map_err(failed)?;
    }
    Ok(())
}
