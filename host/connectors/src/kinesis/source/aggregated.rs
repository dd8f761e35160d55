//! Records that the Kinesis Producer Library packs into one: a magic number, a Protocol Buffers message, and its MD5.

use bytes::Bytes;
use md5::{Digest, Md5};

const MAGIC: [u8; 4] = [0xf3, 0x89, 0x9a, 0xc2];
const MD5_BYTES: usize = 16;

/// A record of several that are aggregated in one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRecord {
    /// Its partition key.
    pub key: String,
    /// Its explicit hash key, if its producer set one.
    pub hash_key: Option<u128>,
    /// Its data.
    pub data: Bytes,
}

impl UserRecord {
    /// Returns its hash key, which determines its shard.
    pub fn hash_key(&self) -> u128 {
        self.hash_key.unwrap_or_else(|| hash_key_of(&self.key))
    }
}

/// Returns the hash key of a partition key.
pub fn hash_key_of(key: &str) -> u128 {
    u128::from_be_bytes(Md5::digest(key.as_bytes()).into())
}

/// Extracts the records in a record; `None`: it is a single record, whatever it begins with.
pub fn deaggregate(record: &Bytes) -> Option<Vec<UserRecord>> {
    let body = record.strip_prefix(&MAGIC)?;
    let (message, digest) = body.split_at_checked(body.len().checked_sub(MD5_BYTES)?)?;
    if Md5::digest(message).as_slice() != digest {
        return None;
    }
    let (mut keys, mut hash_keys, mut records) = (Vec::new(), Vec::new(), Vec::new());
    let mut fields = Fields(message);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Bytes(key)) => keys.push(std::str::from_utf8(key).ok()?),
            (2, Value::Bytes(key)) => hash_keys.push(std::str::from_utf8(key).ok()?.parse::<u128>().ok()?),
            (3, Value::Bytes(aggregated)) => records.push(aggregated),
            _ => {}
        }
    }
    records.into_iter().map(|aggregated| user_record(record, aggregated, &keys, &hash_keys)).collect()
}

fn user_record(record: &Bytes, aggregated: &[u8], keys: &[&str], hash_keys: &[u128]) -> Option<UserRecord> {
    let (mut key, mut hash_key, mut data) = (None, None, None);
    let mut fields = Fields(aggregated);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Number(at)) => key = Some(*keys.get(usize::try_from(at).ok()?)?),
            (2, Value::Number(at)) => hash_key = Some(*hash_keys.get(usize::try_from(at).ok()?)?),
            (3, Value::Bytes(bytes)) => data = Some(record.slice_ref(bytes)),
            _ => {}
        }
    }
    Some(UserRecord { key: key?.to_owned(), hash_key, data: data? })
}

/// The fields of a message.
struct Fields<'a>(&'a [u8]);

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Of a wire type that no field here has.
    Other,
}

impl<'a> Fields<'a> {
    /// Returns the next field; `Some(None)` at the end, `None` if the message is invalid.
    #[expect(clippy::option_option, reason = "`?` is for an invalid message")]
    fn next(&mut self) -> Option<Option<(u64, Value<'a>)>> {
        if self.0.is_empty() {
            return Some(None);
        }
        let tag = self.number()?;
        let value = match tag & 7 {
            0 => Value::Number(self.number()?),
            1 => self.bytes(8).map(|_| Value::Other)?,
            2 => {
                let length = self.number()?;
                Value::Bytes(self.bytes(usize::try_from(length).ok()?)?)
            }
            5 => self.bytes(4).map(|_| Value::Other)?,
            _ => return None,
        };
        Some(Some((tag >> 3, value)))
    }

    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(to: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
        to.push(tag << 3 | 2);
        to.push(bytes.len() as u8);
        to.extend(bytes);
    }

    fn aggregated(message: &[u8]) -> Bytes {
        [&MAGIC[..], message, Md5::digest(message).as_slice()].concat().into()
    }

    fn message() -> Vec<u8> {
        let mut message = Vec::new();
        field(&mut message, 1, b"a");
        field(&mut message, 1, "ü".as_bytes());
        field(&mut message, 2, b"340282366920938463463374607431768211455");
        // With tags, which are ignored.
        field(&mut message, 3, &[0x08, 0, 0x1a, 2, b'h', b'i', 0x22, 3, 0x0a, 1, b'x']);
        field(&mut message, 3, &[0x08, 1, 0x10, 0, 0x1a, 0]);
        message
    }

    #[test]
    fn packed_records_are_taken_apart() {
        let found = deaggregate(&aggregated(&message())).unwrap();
        let expected = [
            UserRecord { key: "a".into(), hash_key: None, data: Bytes::from("hi") },
            UserRecord { key: "ü".into(), hash_key: Some(u128::MAX), data: Bytes::new() },
        ];
        assert_eq!(found, expected);
        assert_eq!(found[0].hash_key(), 0x0cc1_75b9_c0f1_b6a8_31c3_99e2_6977_2661, "its MD5");
        assert_eq!(found[1].hash_key(), u128::MAX);
        assert_eq!(deaggregate(&aggregated(&[])), Some(vec![]));
    }

    #[test]
    fn what_only_looks_packed_is_a_record_by_itself() {
        let aggregated_record = aggregated(&message());
        for end in 0..aggregated_record.len() {
            assert_eq!(deaggregate(&aggregated_record.slice(..end)), None, "{end}");
        }
        for at in 0..aggregated_record.len() {
            let mut other = aggregated_record.to_vec();
            other[at] ^= 1;
            assert_eq!(deaggregate(&other.into()), None, "{at}");
        }
        // A matching digest does not make an invalid message valid.
        let message = message();
        for end in 1..message.len() {
            let _ = deaggregate(&aggregated(&message[..end]));
            let mut other = message.clone();
            for byte in [0, 0x7f, 0x80, 0xff] {
                other[end] = byte;
                let _ = deaggregate(&aggregated(&other));
            }
        }
        assert_eq!(deaggregate(&aggregated(&[0xff; 40])), None);
        assert_eq!(deaggregate(&aggregated(&[0x1a, 3, 0x08, 7, 0])), None, "a missing key");
    }
}
