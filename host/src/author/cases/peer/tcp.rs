//! A peer over TCP: messages are lines, or have a fixed length.

use super::script::Reply;
use super::{MESSAGE_BYTES_MAX, Shared};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};

/// Serves a connection until one of both ends it.
pub fn serve(shared: &Shared, stream: TcpStream) {
    let Ok(mut answers) = stream.try_clone() else { return };
    let mut said = match shared.greeting() {
        Ok(greeting) => greeting,
        Err(words) => return shared.fails(words),
    };
    let mut hearing = BufReader::new(stream);
    // A plugin that has gone hears nothing more.
    while say(shared, &mut answers, &said).is_ok() {
        if said.closes {
            // What was said is lost where somebody speaks to who does not listen: it is heard until the plugin goes, too.
            let _ = answers.shutdown(Shutdown::Write);
            let _ = std::io::copy(&mut hearing, &mut std::io::sink());
            return;
        }
        let Some(message) = message(shared, &mut hearing) else { return };
        let Some(reply) = shared.hear(&message) else { return };
        said = reply;
    }
}

fn say(shared: &Shared, to: &mut TcpStream, said: &Reply) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    for record in said.records.iter().skip(said.from) {
        bytes.extend_from_slice(record);
        if shared.spec.bytes.is_none() {
            bytes.push(b'\n');
        }
    }
    to.write_all(&bytes)
}

/// The next message, a line without its end; `None`: there is none. What was cut off is kept, and not answered.
fn message(shared: &Shared, from: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    let limit = shared.spec.bytes.unwrap_or(MESSAGE_BYTES_MAX + 1) as u64;
    let mut limited = from.take(limit);
    // A connection that broke off has come to its end.
    let _ = match shared.spec.bytes {
        Some(_) => limited.read_to_end(&mut message),
        None => limited.read_until(b'\n', &mut message),
    };
    let is_whole = match shared.spec.bytes {
        Some(bytes) => message.len() == bytes,
        None => message.pop_if(|byte| *byte == b'\n').is_some(),
    };
    if is_whole {
        return Some(message);
    }
    if message.len() > MESSAGE_BYTES_MAX {
        shared.fails(format!("it received a line of more than {MESSAGE_BYTES_MAX} bytes"));
    } else if !message.is_empty() {
        shared.state().heard.push(format!("{}\\", super::escaped(&message)));
    }
    None
}
