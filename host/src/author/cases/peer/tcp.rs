//! A TCP peer: messages are lines, or have a fixed length.

use super::script::Reply;
use super::{MESSAGE_BYTES_MAX, Shared};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};

/// Serves a connection until either end closes it.
pub fn serve(shared: &Shared, stream: TcpStream) {
    let Ok(mut writer) = stream.try_clone() else { return };
    let mut metadata = match shared.greeting() {
        Ok(greeting) => greeting,
        Err(text) => return shared.fails(text),
    };
    let mut reader = BufReader::new(stream);
    // A plugin that has exited receives nothing.
    while send(shared, &mut writer, &metadata).is_ok() {
        if metadata.closes {
            // Closing the socket with unread input could drop sent data. So input is read until the plugin closes, too.
            let _ = writer.shutdown(Shutdown::Write);
            let _ = std::io::copy(&mut reader, &mut std::io::sink());
            return;
        }
        let Some(message) = message(shared, &mut reader) else { return };
        let Some(reply) = shared.receive(&message) else { return };
        metadata = reply;
    }
}

fn send(shared: &Shared, to: &mut TcpStream, reply: &Reply) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    for record in reply.records.iter().skip(reply.from) {
        bytes.extend_from_slice(record);
        if shared.spec.bytes.is_none() {
            bytes.push(b'\n');
        }
    }
    to.write_all(&bytes)
}

/// Reads the next message, a line without its end, or `None` at the end. A truncated message is recorded, and not
/// answered.
fn message(shared: &Shared, from: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    let limit = shared.spec.bytes.unwrap_or(MESSAGE_BYTES_MAX + 1) as u64;
    let mut limited = from.take(limit);
    // A broken connection counts as ended.
    let _ = match shared.spec.bytes {
        Some(_) => limited.read_to_end(&mut message),
        None => limited.read_until(b'\n', &mut message),
    };
    let is_complete = match shared.spec.bytes {
        Some(bytes) => message.len() == bytes,
        None => message.pop_if(|byte| *byte == b'\n').is_some(),
    };
    if is_complete {
        return Some(message);
    }
    if message.len() > MESSAGE_BYTES_MAX {
        shared.fails(format!("it received a line of more than {MESSAGE_BYTES_MAX} bytes"));
    } else if !message.is_empty() {
        shared.state().received.push(format!("{}\\", super::escape(&message)));
    }
    None
}
