use super::*;
use crate::files::source::settings::FileReads;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;
use std::path::PathBuf;

const LINES: u32 = 40_000;

fn text() -> Vec<u8> {
    (0..LINES).flat_map(|n| format!("line {n} {}\n", n.wrapping_mul(2_654_435_761)).into_bytes()).collect()
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn compress_all(text: &[u8]) -> [(&'static str, Vec<u8>); 2] {
    [("a.gz", gzip(text)), ("a.zst", zstd::encode_all(text, 3).unwrap())]
}

fn source(format: Format) -> SourceSpec {
    SourceSpec::from_config("in", FileReads { path: PathBuf::new() }).format(format)
}

fn open(dir: &Path, name: &str, bytes: &[u8], format: Format) -> Stream {
    let path = dir.join(name);
    std::fs::write(&path, bytes).unwrap();
    Stream::of(&source(format), &path, std::fs::File::open(&path).unwrap()).unwrap()
}

fn all(stream: &mut Stream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn what_was_compressed_is_read_as_it_was() {
    let (dir, text) = (tempfile::tempdir().unwrap(), text());
    for (name, bytes) in compress_all(&text) {
        for name in [name, "no-ending"] {
            let mut stream = open(dir.path(), name, &bytes, Format::Text);
            assert!(stream.is_compressed());
            assert!(all(&mut stream) == text && stream.damage().unwrap().is_none());
        }
        let mut twice = open(dir.path(), name, &[&bytes[..], &bytes[..]].concat(), Format::Text);
        assert!(all(&mut twice) == [&text[..], &text[..]].concat(), "members one behind the other");
        assert!(!open(dir.path(), "records", &bytes, Format::Binary { record_bytes: None }).is_compressed());
        assert!(open(dir.path(), name, &bytes, Format::Binary { record_bytes: None }).is_compressed());
        assert!(!open(dir.path(), name, b"", Format::Text).is_compressed(), "an empty file is empty");
    }
}

#[test]
fn reading_goes_on_from_any_byte() {
    let (dir, text) = (tempfile::tempdir().unwrap(), text());
    for (name, bytes) in compress_all(&text) {
        let mut stream = open(dir.path(), name, &bytes, Format::Text);
        for at in [500_000, 3, 500_001, BLOCK_BYTES, text.len()] {
            assert!(stream.seek_to(at as u64).unwrap());
            let mut found = vec![0; 1000.min(text.len() - at)];
            stream.read_exact(&mut found).unwrap();
            assert!(text[at..].starts_with(&found), "{at}");
        }
        assert!(!stream.seek_to(text.len() as u64 + 1).unwrap());
    }
}

#[test]
fn what_is_before_damage_is_read_and_always_the_same() {
    let (dir, text) = (tempfile::tempdir().unwrap(), text());
    for (name, bytes) in compress_all(&text) {
        let half = bytes.len() / 2;
        let mut flipped = bytes.clone();
        flipped[half..half + 8].iter_mut().for_each(|byte| *byte ^= 0xa5);
        for broken in [&bytes[..half], &bytes[..bytes.len() - 2], &flipped[..], &b"plain text"[..], &bytes[..3]] {
            let mut stream = open(dir.path(), name, broken, Format::Text);
            let complete = all(&mut stream);
            let why = stream.damage().unwrap().expect("damage");
            assert!(why.contains(&format!("after {} decompressed bytes", complete.len())), "{why}");
            for step in [1, 777, BLOCK_BYTES + 1] {
                let mut again = open(dir.path(), name, broken, Format::Text);
                again.seek_to(complete.len().min(step) as u64).unwrap();
                let mut bytes = complete[..complete.len().min(step)].to_vec();
                let mut block = vec![0; step];
                loop {
                    match again.read(&mut block).unwrap() {
                        0 => break,
                        read => bytes.extend_from_slice(&block[..read]),
                    }
                }
                assert!(bytes == complete && again.damage().unwrap() == Some(why.clone()), "{name} {step}");
            }
        }
    }
}
