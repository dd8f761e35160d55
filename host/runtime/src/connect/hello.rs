//! How two processes make sure of each other, within TLS and before anything else is said:
//!
//! | who | says |
//! |---|---|
//! | the one that connects | its [`Hello`] and a number that it used for nothing before |
//! | the one that listens | the same of its own, and a proof that it knows the key |
//! | the one that connects | its proof |
//!
//! A proof is an HMAC over both hellos and both numbers, so one that was heard earlier proves nothing. Its key is made of the job's key and
//! of what only the two ends of this connection with TLS have (`running/peer_trust`), so one that was heard elsewhere proves nothing either,
//! also where somebody between the two speaks TLS with each of them.

use millstream_base::ids::Generation;
use millstream_base::private::random;
use ring::hmac;
use std::io;

/// What a process says first, so that nobody else is taken for one.
pub const MAGIC: [u8; 8] = *b"mllstrm7";
/// Magic, the fields of [`Hello`], the purpose and the number.
pub const HELLO_BYTES: usize = 80;
/// Bytes of a proof.
pub const PROOF_BYTES: usize = 32;

/// What processes tell each other when they connect: what they run must be the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Its place in `--hosts`.
    pub process: u32,
    /// How many there are.
    pub processes: u32,
    /// Workers of each process.
    pub workers: u32,
    /// A digest of the job: of its streams, their columns and its plugins.
    pub job: u64,
    /// Of this start, as far as the process knows it; 0: not yet. Process 0 tells the others what it has claimed when it
    /// lets them in.
    pub generation: Generation,
    /// Of which machines it is, where the job was given others while it ran (`running/layout`); 0: of those that it was started with.
    pub layout: u64,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionPurpose {
    /// Batches.
    Dataflow,
    /// Signs of life, see [`crate::liveness`].
    Liveness,
    /// Questions about the other process, see [`crate::control`].
    Questions,
}

impl ConnectionPurpose {
    const ALL: [ConnectionPurpose; 3] =
        [ConnectionPurpose::Dataflow, ConnectionPurpose::Liveness, ConnectionPurpose::Questions];

    fn number(self) -> u32 {
        match self {
            ConnectionPurpose::Dataflow => 0,
            ConnectionPurpose::Liveness => 1,
            ConnectionPurpose::Questions => 2,
        }
    }
}

/// What one end says first, as it goes over the connection.
#[derive(Clone, Copy)]
pub struct HelloBytes(pub [u8; HELLO_BYTES]);

impl HelloBytes {
    /// The words of a process, with a new number.
    pub fn new(hello: Hello, purpose: ConnectionPurpose) -> io::Result<HelloBytes> {
        let mut bytes = [0; HELLO_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&hello.process.to_le_bytes());
        bytes[12..16].copy_from_slice(&hello.processes.to_le_bytes());
        bytes[16..20].copy_from_slice(&hello.workers.to_le_bytes());
        bytes[20..28].copy_from_slice(&hello.job.to_le_bytes());
        bytes[28..36].copy_from_slice(&hello.generation.0.to_le_bytes());
        bytes[36..40].copy_from_slice(&purpose.number().to_le_bytes());
        bytes[40..48].copy_from_slice(&hello.layout.to_le_bytes());
        bytes[48..].copy_from_slice(&random()?);
        Ok(HelloBytes(bytes))
    }

    /// What is said; it counts for nothing before it is proven. `None`: for a purpose that there is not.
    pub fn hello(&self) -> Option<(Hello, ConnectionPurpose)> {
        let bytes = &self.0;
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        let purpose = ConnectionPurpose::ALL.into_iter().find(|purpose| purpose.number() == word(36))?;
        let generation = Generation(long(28));
        let (process, processes, workers) = (word(8), word(12), word(16));
        let hello = Hello { process, processes, workers, job: long(20), generation, layout: long(40) };
        Some((hello, purpose))
    }
}

/// The end of a connection that speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionEnd {
    /// It connects.
    Connects,
    /// It listens.
    Listens,
}

/// What both ends of one connection have said.
pub struct Transcript {
    key: hmac::Key,
    /// The hello of the end that connects, then that of the end that listens.
    said: [u8; 2 * HELLO_BYTES],
}

impl Transcript {
    /// Of these hellos; `key`: what both ends prove that they know.
    pub fn new(key: hmac::Key, connects: &HelloBytes, listens: &HelloBytes) -> Transcript {
        let mut said = [0; 2 * HELLO_BYTES];
        said[..HELLO_BYTES].copy_from_slice(&connects.0);
        said[HELLO_BYTES..].copy_from_slice(&listens.0);
        Transcript { key, said }
    }

    /// What only an end with the key can say.
    pub fn proof(&self, of: ConnectionEnd) -> [u8; PROOF_BYTES] {
        let mut bytes = [0; PROOF_BYTES];
        bytes.copy_from_slice(hmac::sign(&self.key, &self.labelled(proof_label(of))).as_ref());
        bytes
    }

    /// Whether this is the proof of that end. Takes the same time for every wrong one.
    pub fn proves(&self, of: ConnectionEnd, proof: &[u8; PROOF_BYTES]) -> bool {
        hmac::verify(&self.key, &self.labelled(proof_label(of)), proof).is_ok()
    }

    fn labelled(&self, label: &Label) -> Vec<u8> {
        [&label[..], &self.said[..]].concat()
    }
}

/// What a proof begins with. Both are of one length, so that neither is the other.
type Label = [u8; 31];

fn proof_label(of: ConnectionEnd) -> &'static Label {
    match of {
        ConnectionEnd::Connects => b"millstream: this one connects  ",
        ConnectionEnd::Listens => b"millstream: this one listens   ",
    }
}

impl Hello {
    /// Whether the other belongs to other machines than this one, as process 0 has them, and one of both was given them while the job
    /// ran: process 0 tells which there are now.
    pub fn is_elsewhere(self, other: Hello) -> bool {
        let of_first = self.process == 0 || other.process == 0;
        let is_given = self.layout != 0 || other.layout != 0;
        let same = (self.layout, self.processes, self.workers) == (other.layout, other.processes, other.workers);
        of_first && is_given && !same && self.job == other.job
    }

    /// Why the other cannot take part with this one; `None`: it can.
    pub fn differs(self, other: Hello) -> Option<String> {
        let (what, own, others) = if self.processes != other.processes {
            ("--processes", self.processes.to_string(), other.processes.to_string())
        } else if self.workers != other.workers {
            ("--workers", self.workers.to_string(), other.workers.to_string())
        } else if self.job != other.job {
            ("job", "one with these streams and plugins".into(), "another".into())
        } else {
            return None;
        };
        Some(format!(
            "process {} has another {what} than process {} ({others}, not {own}); start all with the same job file, \
             plugins, --processes, --hosts and --workers",
            other.process, self.process
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_holds_for_its_end_its_key_and_its_hellos_only() {
        let hello = |process| Hello { process, processes: 3, workers: 2, job: 7, generation: Generation(9), layout: 0 };
        let keys = [1, 2].map(|byte| hmac::Key::new(hmac::HMAC_SHA256, &[byte; 32]));
        let key = |number: usize| keys[number].clone();
        let said = |process| HelloBytes::new(hello(process), ConnectionPurpose::Liveness).unwrap();
        let (connects, listens) = (said(1), said(0));
        assert_eq!(connects.hello(), Some((hello(1), ConnectionPurpose::Liveness)));
        assert_eq!(listens.hello().map(|(hello, _)| hello), Some(hello(0)));
        let mut unknown = connects;
        unknown.0[36] = 3;
        assert_eq!(unknown.hello(), None);
        let right = Transcript::new(key(0), &connects, &listens);
        let proof = right.proof(ConnectionEnd::Connects);
        assert!(right.proves(ConnectionEnd::Connects, &proof));
        assert!(!right.proves(ConnectionEnd::Listens, &proof), "a proof that comes back is none");
        let others = [
            Transcript::new(key(1), &connects, &listens),
            Transcript::new(key(0), &said(1), &listens),
            Transcript::new(key(0), &connects, &said(0)),
            Transcript::new(key(0), &listens, &connects),
        ];
        assert!(others.iter().all(|other| !other.proves(ConnectionEnd::Connects, &proof)));
        for byte in 0..HELLO_BYTES {
            let mut changed = connects;
            changed.0[byte] ^= 1;
            assert!(
                !Transcript::new(key(0), &changed, &listens).proves(ConnectionEnd::Connects, &proof),
                "byte {byte}"
            );
        }
    }
}
