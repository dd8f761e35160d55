//! The encoding of the manifest, and its replacement: the only commit point of a checkpoint.
//!
//! The first line is `millstream-manifest <format> <checksum> <length> <writing> <program>`. These are the format's version, the XXH3-64 of the rest
//! of the line and of what follows, the length of what follows, a unique random number for each write, and the version of the program that wrote it.
//! Human-readable JSON follows.

use super::store::{Store, Version};
use super::types::Manifest;
use bytes::Bytes;
use millstream_base::digest::checksum;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::fault;
use millstream_base::owner::FORMAT_VERSION;
use millstream_base::retry::retry_transient;
use std::hash::{BuildHasher, Hasher, RandomState};

/// Its path in the store.
pub const PATH: &str = "manifest.json";

const MAGIC: &str = "millstream-manifest";
/// Maximum length of the first line. Longer lines were not written by Millstream.
const HEADER_BYTES_MAX: usize = 200;

/// The outcome of an attempt to replace the manifest.
#[derive(Debug)]
pub enum ReplaceOutcome {
    /// It has this version now.
    Done(Version),
    /// Another process replaced it: this process has lost the job.
    Lost,
}

/// Returns the manifest's bytes: versioned and checksummed. The bytes of each call differ, so that two processes that write the same facts
/// concurrently can tell whose write succeeded.
pub fn encode(manifest: &Manifest) -> Result<Bytes> {
    let json = serde_json::to_string_pretty(manifest).map_err(Error::bug)? + "\n";
    let writing = format!("{:016x}", RandomState::new().build_hasher().finish());
    Ok((header(&writing, env!("CARGO_PKG_VERSION"), &json) + &json).into())
}

/// Returns the first line for this JSON.
fn header(writing: &str, program: &str, json: &str) -> String {
    let facts = format!("{} {writing} {program}", json.len());
    let sum = checksum(format!("{MAGIC} {FORMAT_VERSION} {facts}\n{json}").as_bytes());
    format!("{MAGIC} {FORMAT_VERSION} {sum} {facts}\n")
}

/// Parses a manifest; the error names `location` and says what is wrong with it.
pub fn decode(location: &str, bytes: &Bytes) -> Result<Manifest> {
    let end = bytes.iter().take(HEADER_BYTES_MAX).position(|byte| *byte == b'\n');
    let line = end.and_then(|end| bytes.get(..end)).and_then(|line| std::str::from_utf8(line).ok());
    let fields: Vec<&str> = line.unwrap_or_default().split(' ').collect();
    if fields.first() != Some(&MAGIC) {
        // The beginning of a manifest is a damaged one; other content must not be replaced.
        return Err(if MAGIC.as_bytes().starts_with(bytes.get(..MAGIC.len()).unwrap_or(bytes)) {
            damaged(location, "its first line is incomplete")
        } else {
            foreign(location)
        });
    }
    let format = fields.get(1).and_then(|format| format.parse::<u32>().ok());
    let format = format.ok_or_else(|| damaged(location, "its first line cannot be read"))?;
    if format > FORMAT_VERSION {
        return Err(newer(location, format, fields.get(5).copied()));
    }
    let json = end.and_then(|end| bytes.get(end + 1..)).and_then(|json| std::str::from_utf8(json).ok());
    let json = json.ok_or_else(|| damaged(location, "it is not text"))?;
    let [_, _, _, length, writing, program] = fields[..] else {
        return Err(damaged(location, "its first line cannot be read"));
    };
    if length != json.len().to_string() {
        return Err(damaged(
            location,
            format_args!("it should be {length} bytes after the first line, not {}", json.len()),
        ));
    }
    if Some(header(writing, program, json).trim_end()) != line {
        return Err(damaged(location, "its checksum does not match its content"));
    }
    serde_json::from_str(json).map_err(|error| damaged(location, error))
}

fn damaged(location: &str, why: impl std::fmt::Display) -> Error {
    Error::environment(format!(
        "{location}: {PATH} is damaged: {why}. Nothing was changed. Restore it from a copy, or start with `--fresh` to start from scratch"
    ))
}

fn foreign(location: &str) -> Error {
    Error::environment(format!(
        "{location}: {PATH} is not a manifest of Millstream. Nothing was changed. Name another `dir` in [checkpoint], restore it \
         from a copy, or start with `--fresh` to start from scratch"
    ))
}

fn newer(location: &str, format: u32, program: Option<&str>) -> Error {
    let known = |program: &&str| program.bytes().all(|byte| byte.is_ascii_graphic());
    let by = program.filter(known).map_or(String::new(), |program| format!(", Millstream {program}"));
    Error::environment(format!(
        "{location}: {PATH} was written by a newer version{by}: it has format {format}, but this Millstream ({}) \
         supports at most {}. Nothing was changed. Use that version or a later one",
        env!("CARGO_PKG_VERSION"),
        FORMAT_VERSION
    ))
}

/// Reads the store's manifest; `None`: the store is empty. Fails if it is missing although there are plans or state, which only exist after a
/// manifest.
pub fn read(store: &dyn Store) -> Result<Option<(Manifest, Version)>> {
    if let Some((bytes, version)) = store.read_version(PATH)? {
        return Ok(Some((decode(&store.location(), &bytes)?, version)));
    }
    for dir in ["plans", "state"] {
        if let Some(left) = store.list(dir)?.first() {
            return Err(Error::environment(format!(
                "{}: {PATH} is missing, but {} exists. Nothing was changed. Restore {PATH} from a copy, or start \
                 with `--fresh` to start from scratch",
                store.location(),
                left.path
            )));
        }
    }
    Ok(None)
}

/// Replaces the manifest if it still has this version (`None`: if it does not exist). Retries transient errors (a full disk, an unresponsive server)
/// while the job lives.
pub fn replace(
    store: &dyn Store,
    manifest: &Manifest,
    expected: Option<&Version>,
    failure: &Failure,
) -> Result<ReplaceOutcome> {
    // Encoded once: all attempts write the same bytes, so that one whose response was lost is recognized.
    let bytes = encode(manifest)?;
    fault::point("manifest.before");
    let replaced = retry_transient(failure, || store.replace(PATH, bytes.clone(), expected))?;
    fault::point("manifest.after");
    Ok(replaced.map_or(ReplaceOutcome::Lost, ReplaceOutcome::Done))
}

#[cfg(test)]
mod tests {
    use super::super::store;
    use super::super::types::JobStart;
    use super::*;
    use millstream_base::ids::{BatchId, Generation};
    use std::collections::BTreeSet;

    fn manifest(job: &str) -> Manifest {
        let start = JobStart {
            generation: Generation(1),
            checkpoint: BatchId(0),
            after: BatchId(0),
            first: BatchId(1),
            workers: 2,
            sources: vec!["lines".into()],
            job_digest: "d".into(),
            upgrade: false,
            started_us: 0,
        };
        Manifest {
            job: job.into(),
            job_id: "0".repeat(32),
            generation: Generation(1),
            starts: vec![start],
            checkpoints: Vec::new(),
        }
    }

    #[test]
    fn every_truncation_and_every_flipped_bit_is_an_error_that_says_what_to_do() {
        let bytes = encode(&manifest("größe")).expect("it encodes");
        assert_eq!(decode("here", &bytes).expect("it is whole"), manifest("größe"));
        let damages = (0..bytes.len()).map(|length| bytes.slice(..length)).chain((0..bytes.len() * 8).map(|bit| {
            let mut damaged = bytes.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            damaged.into()
        }));
        for damaged in damages.chain([Bytes::from([bytes.as_ref(), b"\n"].concat())]) {
            let message = decode("here", &damaged).expect_err("it is damaged").message;
            assert!(message.starts_with("here: manifest.json "), "{message}");
            assert!(message.contains("--fresh") || message.contains("newer version"), "{message}");
        }
    }

    #[test]
    fn newer_versions_and_other_things_are_refused() {
        let newer = b"millstream-manifest 2 who knows what 9.8.7 and\nmore";
        let message = decode("here", &Bytes::from_static(newer)).expect_err("it is newer").message;
        assert!(message.contains("a newer version, Millstream 9.8.7") && message.contains("format 2"), "{message}");
        for other in [&b"{\"hello\": 1}\n"[..], b"\n", b"\xff\xfe", &[b'x'; 10_000]] {
            let message = decode("here", &Bytes::from_static(other)).expect_err("it is another thing").message;
            assert!(message.contains("not a manifest of Millstream"), "{message}");
        }
        let mut json = serde_json::to_string(&manifest("x")).expect("it encodes");
        json.truncate(json.len() / 2);
        let signed = Bytes::from(header("0", "0", &json) + &json);
        assert!(decode("here", &signed).expect_err("its JSON is cut").message.contains("is damaged"));
    }

    #[test]
    fn no_two_writings_are_the_same_bytes() {
        let all: BTreeSet<_> = (0..100).map(|_| encode(&manifest("x")).expect("it encodes")).collect();
        assert_eq!(all.len(), 100);
    }

    #[test]
    fn it_is_replaced_by_whoever_knows_its_version() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = store::open("x", dir.path()).expect("a directory");
        let replace = |job: &str, expected: Option<&Version>| {
            replace(store.as_ref(), &manifest(job), expected, &Failure::default()).expect("no failure")
        };
        assert!(read(store.as_ref()).expect("an empty store").is_none());
        let ReplaceOutcome::Done(first) = replace("first", None) else { panic!("there was none") };
        assert!(matches!(replace("first", None), ReplaceOutcome::Lost), "the same facts, but of another start");
        let (there, version) = read(store.as_ref()).expect("it reads").expect("it is there");
        assert_eq!((there.job.as_str(), &version), ("first", &first));
        assert!(matches!(replace("second", Some(&version)), ReplaceOutcome::Done(_)));
        assert!(matches!(replace("third", Some(&version)), ReplaceOutcome::Lost));
        assert_eq!(read(store.as_ref()).expect("it reads").expect("it is there").0.job, "second");
    }

    #[test]
    fn a_missing_one_is_no_fresh_start() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = store::open("x", dir.path()).expect("a directory");
        store.write("blobs/a", "written before the first manifest".into()).expect("it writes");
        assert!(read(store.as_ref()).expect("nothing that counts").is_none());
        store.write("state/a.arrow", "x".into()).expect("it writes");
        let message = read(store.as_ref()).expect_err("the manifest is gone").message;
        assert!(message.contains("manifest.json is missing, but state/a.arrow exists"), "{message}");
    }
}
