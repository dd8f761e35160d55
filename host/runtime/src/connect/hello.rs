//! Mutual authentication of two processes, within TLS and before any other data:
//!
//! | end | sends |
//! |---|---|
//! | the connecting end | its [`Hello`] and a number that it has never used before |
//! | the listening end | its own hello and number, and a proof that it knows the key |
//! | the connecting end | its proof |
//!
//! A proof is an HMAC over both hellos and both numbers, so a replayed proof is invalid. Its key is derived from the
//! job's key and from a secret that only the two ends of this TLS connection share (`running/peer_trust`). So a proof
//! of another connection is invalid too, even if a man in the middle has a TLS connection to each end.

use millstream_base::ids::Generation;
use millstream_base::private::random;
use ring::hmac;
use std::io;

/// The first bytes of a process, so that no other program is taken for one.
pub const MAGIC: [u8; 8] = *b"mllstrm7";
/// The magic, the fields of [`Hello`], the purpose and the number.
pub const HELLO_BYTES: usize = 80;
/// Bytes of a proof.
pub const PROOF_BYTES: usize = 32;

/// What processes exchange when they connect. They must run the same job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The index of the process in `--hosts`.
    pub process: u32,
    /// The number of processes.
    pub processes: u32,
    /// Workers per process.
    pub workers: u32,
    /// A digest of the job: of its streams, their columns and its plugins.
    pub job: u64,
    /// The generation of this startup, if the process knows it; 0 if not yet. Process 0 sends the generation that it has
    /// claimed when it admits the others.
    pub generation: Generation,
    /// The ID of the machines, if they were given to the job while it ran (`running/layout`). 0 means those of the
    /// start.
    pub layout: u64,
}

/// The purpose of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionPurpose {
    /// Batches.
    Dataflow,
    /// Signs of life, see [`crate::liveness`].
    Liveness,
    /// Requests about the other process, see [`crate::control`].
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

/// The first message of one end, as it is sent.
#[derive(Clone, Copy)]
pub struct HelloBytes(pub [u8; HELLO_BYTES]);

impl HelloBytes {
    /// Encodes the hello of a process, with a new random number.
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

    /// Decodes the hello. It is not trusted before it is proven. `None` for an unknown purpose.
    pub fn hello(&self) -> Option<(Hello, ConnectionPurpose)> {
        let bytes = &self.0;
        let word_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let long_at = |at: usize| u64::from(word_at(at)) | u64::from(word_at(at + 4)) << 32;
        let purpose = ConnectionPurpose::ALL.into_iter().find(|purpose| purpose.number() == word_at(36))?;
        let generation = Generation(long_at(28));
        let (process, processes, workers) = (word_at(8), word_at(12), word_at(16));
        let hello = Hello { process, processes, workers, job: long_at(20), generation, layout: long_at(40) };
        Some((hello, purpose))
    }
}

/// The end of a connection that sends a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionEnd {
    /// The connecting end.
    Connects,
    /// The listening end.
    Listens,
}

/// The hellos of both ends of one connection.
pub struct Transcript {
    key: hmac::Key,
    /// The hello of the connecting end, then that of the listening end.
    hellos: [u8; 2 * HELLO_BYTES],
}

impl Transcript {
    /// Creates the transcript of these hellos. `key` is the key that both ends prove to know.
    pub fn new(key: hmac::Key, connects: &HelloBytes, listens: &HelloBytes) -> Transcript {
        let mut hellos = [0; 2 * HELLO_BYTES];
        hellos[..HELLO_BYTES].copy_from_slice(&connects.0);
        hellos[HELLO_BYTES..].copy_from_slice(&listens.0);
        Transcript { key, hellos }
    }

    /// Returns the proof of an end. Only an end with the key can compute it.
    pub fn proof(&self, of: ConnectionEnd) -> [u8; PROOF_BYTES] {
        let mut bytes = [0; PROOF_BYTES];
        bytes.copy_from_slice(hmac::sign(&self.key, &self.with_label(proof_label(of))).as_ref());
        bytes
    }

    /// Returns whether this is the proof of that end, in constant time.
    pub fn proves(&self, of: ConnectionEnd, proof: &[u8; PROOF_BYTES]) -> bool {
        hmac::verify(&self.key, &self.with_label(proof_label(of)), proof).is_ok()
    }

    fn with_label(&self, label: &Label) -> Vec<u8> {
        [&label[..], &self.hellos[..]].concat()
    }
}

/// The start of a proof. Both labels have the same length, so neither can be a prefix of the other.
type Label = [u8; 31];

fn proof_label(of: ConnectionEnd) -> &'static Label {
    match of {
        ConnectionEnd::Connects => b"millstream: this one connects  ",
        ConnectionEnd::Listens => b"millstream: this one listens   ",
    }
}

impl Hello {
    /// Returns whether the other process has other machines than this one, and process 0 can report the current ones.
    /// For that, one of both is process 0, and one of both layouts was given while the job ran.
    pub fn is_elsewhere(self, other: Hello) -> bool {
        let of_first = self.process == 0 || other.process == 0;
        let is_given = self.layout != 0 || other.layout != 0;
        let same = (self.layout, self.processes, self.workers) == (other.layout, other.processes, other.workers);
        of_first && is_given && !same && self.job == other.job
    }

    /// Returns why the other process cannot take part with this one, or `None` if it can.
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
        let hellos = |process| HelloBytes::new(hello(process), ConnectionPurpose::Liveness).unwrap();
        let (connects, listens) = (hellos(1), hellos(0));
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
            Transcript::new(key(0), &hellos(1), &listens),
            Transcript::new(key(0), &connects, &hellos(0)),
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
