//! Peers that receive or send datagrams.

use super::Shared;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// After this time without a datagram, everything sent on this machine was received.
const QUIET: Duration = Duration::from_millis(50);
/// The maximum size of a datagram.
const DATAGRAM_BYTES_MAX: usize = 1 << 16;

/// Receives datagrams, and responds to their senders.
pub fn serve(shared: &Shared, socket: &UdpSocket) {
    let mut bytes = vec![0; DATAGRAM_BYTES_MAX];
    if let Err(error) = socket.set_read_timeout(Some(QUIET)) {
        return shared.fails(format!("it cannot wait: {error}"));
    }
    while !shared.stops.load(Ordering::Acquire) {
        // An earlier response to a closed socket is reported here as an error.
        let Ok((count, sender)) = socket.recv_from(&mut bytes) else {
            shared.state().idle += 1;
            shared.changed.notify_all();
            continue;
        };
        let Some(reply) = shared.receive(bytes.get(..count).unwrap_or_default()) else { continue };
        for record in reply.records.iter().skip(reply.from) {
            let _ = socket.send_to(record, sender);
        }
    }
}

/// Sends the records of a script without a request, one datagram per record.
pub fn send(shared: &Shared, to: SocketAddr) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("a datagram could not be sent: {error}");
    let socket = UdpSocket::bind((to.ip(), 0)).map_err(failed)?;
    for record in shared.greeting()?.records {
        socket.send_to(&record, to).map_err(failed)?;
    }
    Ok(())
}
