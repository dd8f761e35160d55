//! Decodes keyboard input into keys.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

/// After the first byte of a multi-byte key, the others arrive immediately. Otherwise it was the Escape key.
const REST_MAX: Duration = Duration::from_millis(40);
/// Maximum bytes of an unknown key. Then it is dropped.
const KEY_BYTES_MAX: usize = 16;
const ESCAPE: u8 = 0x1b;

/// A key that has a function here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Char(char),
    /// Ctrl-C, which is no signal in raw mode.
    Interrupt,
    Enter,
    Escape,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Help,
}

/// The sequences that terminals send for special keys, after the escape.
const SEQUENCES: [(&str, Key); 20] = [
    ("[A", Key::Up),
    ("[B", Key::Down),
    ("OA", Key::Up),
    ("OB", Key::Down),
    ("[5~", Key::PageUp),
    ("[6~", Key::PageDown),
    ("[H", Key::Home),
    ("[F", Key::End),
    ("OH", Key::Home),
    ("OF", Key::End),
    ("[1~", Key::Home),
    ("[4~", Key::End),
    ("[7~", Key::Home),
    ("[8~", Key::End),
    ("OP", Key::Help),
    ("[11~", Key::Help),
    ("[[A", Key::Help),
    ("[1;5A", Key::Up),
    ("[1;5B", Key::Down),
    ("OM", Key::Enter),
];

/// The source of keys: standard input, or the terminal itself if that is redirected.
pub struct Keyboard {
    input: File,
    /// The bytes of an incomplete key.
    begun: Vec<u8>,
}

impl Keyboard {
    /// Opens the keyboard of the terminal.
    pub fn open() -> io::Result<Keyboard> {
        let input = match io::stdin().is_terminal() {
            true => File::from(io::stdin().as_fd().try_clone_to_owned()?),
            false => File::open("/dev/tty")?,
        };
        Ok(Keyboard { input, begun: Vec::new() })
    }

    /// Returns the terminal of the keyboard.
    pub fn terminal(&self) -> io::Result<OwnedFd> {
        self.input.as_fd().try_clone_to_owned()
    }

    /// Returns the keys typed within this time, as soon as there is one. Fails if no key can arrive any longer.
    pub fn keys(&mut self, within: Duration) -> io::Result<Vec<Key>> {
        let mut keys = Vec::new();
        let mut left = if self.begun.is_empty() { within } else { REST_MAX };
        while keys.is_empty() {
            if !self.has_input_within(left)? {
                if !std::mem::take(&mut self.begun).is_empty() {
                    keys.push(Key::Escape);
                }
                break;
            }
            let mut bytes = [0; 256];
            match self.input.read(&mut bytes) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => keys = read(&mut self.begun, &bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            left = REST_MAX;
        }
        Ok(keys)
    }

    fn has_input_within(&self, time: Duration) -> io::Result<bool> {
        let mut poll_fd = libc::pollfd { fd: self.input.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let ms = libc::c_int::try_from(time.as_millis()).unwrap_or(libc::c_int::MAX);
        // SAFETY: it is one `pollfd`, valid for the call.
        match unsafe { libc::poll(&mut poll_fd, 1, ms) } {
            0 => Ok(false),
            1.. => Ok(true),
            _ => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => Ok(false),
                error => Err(error),
            },
        }
    }
}

/// Decodes the keys in these bytes, which follow `begun`. Incomplete bytes are stored in `begun`.
fn read(begun: &mut Vec<u8>, bytes: &[u8]) -> Vec<Key> {
    let mut keys = Vec::new();
    for byte in bytes {
        if *byte == ESCAPE && !begun.is_empty() {
            keys.extend((*begun == [ESCAPE]).then_some(Key::Escape));
            begun.clear();
        }
        begun.push(*byte);
        match key(begun) {
            FoundKey::Complete(key) => {
                keys.extend(key);
                begun.clear();
            }
            FoundKey::Incomplete if begun.len() < KEY_BYTES_MAX => {}
            FoundKey::Incomplete => begun.clear(),
        }
    }
    keys
}

enum FoundKey {
    /// A key, or `None` if it has no function here.
    Complete(Option<Key>),
    Incomplete,
}

fn key(bytes: &[u8]) -> FoundKey {
    let Some(([ESCAPE], rest)) = bytes.split_at_checked(1) else {
        return match std::str::from_utf8(bytes) {
            Ok(text) => FoundKey::Complete(text.chars().next().and_then(|c| match c {
                '\u{3}' => Some(Key::Interrupt),
                '\r' | '\n' => Some(Key::Enter),
                c if c.is_control() => None,
                c => Some(Key::Char(c)),
            })),
            Err(error) if error.error_len().is_none() => FoundKey::Incomplete,
            Err(_) => FoundKey::Complete(None),
        };
    };
    let rest = std::str::from_utf8(rest).unwrap_or("?");
    if let Some((_, key)) = SEQUENCES.iter().find(|(sequence, _)| *sequence == rest) {
        return FoundKey::Complete(Some(*key));
    }
    // A sequence ends with a letter or `~`. After `O` and `[[` there is one letter.
    let ends = |c: char| c.is_ascii_alphabetic() || c == '~';
    match rest {
        "" | "[" | "O" | "[[" => FoundKey::Incomplete,
        _ if rest.starts_with('[') && !rest.ends_with(ends) => FoundKey::Incomplete,
        _ => FoundKey::Complete(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_in_pieces_or_many_at_once() {
        let mut begun = Vec::new();
        assert_eq!(
            read(&mut begun, b"jq\r\x03?"),
            [Key::Char('j'), Key::Char('q'), Key::Enter, Key::Interrupt, Key::Char('?')]
        );
        assert_eq!(read(&mut begun, b"\x1b[A\x1bOB\x1b[6~"), [Key::Up, Key::Down, Key::PageDown]);
        assert_eq!(read(&mut begun, b"\x1b"), []);
        assert_eq!(read(&mut begun, b"["), []);
        assert_eq!(read(&mut begun, b"5"), []);
        assert_eq!(read(&mut begun, b"~"), [Key::PageUp]);
        assert_eq!(read(&mut begun, "ä\u{1}x".as_bytes()), [Key::Char('ä'), Key::Char('x')]);
        assert_eq!(read(&mut begun, b"\xc3"), []);
        assert_eq!(read(&mut begun, b"\xa4"), [Key::Char('ä')]);
        assert_eq!((read(&mut begun, b"\xff\xfe"), begun.len()), (vec![], 0));
    }

    #[test]
    fn what_nobody_knows_is_passed_over() {
        let mut begun = Vec::new();
        assert_eq!(read(&mut begun, b"\x1b[200~\x1b[<0;1;2Mq"), [Key::Char('q')]);
        assert_eq!(read(&mut begun, b"\x1b\x1b[B"), [Key::Escape, Key::Down]);
        let noise = [&b"\x1b["[..], &[b'1'; 100]].concat();
        read(&mut begun, &noise);
        assert!(begun.len() < KEY_BYTES_MAX);
    }
}
