//! The bindings in the repository are those of the WIT files.

use std::fs::{read_dir, read_to_string};
use std::path::Path;

#[test]
fn bindings_are_made_of_the_wit_files_as_they_are() {
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR"));
    let entries = read_dir(sdk.join("wit")).expect("wit/").map(|entry| entry.expect("an entry").path());
    let mut paths: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "wit")).collect();
    paths.sort();
    let now: String = paths.iter().map(|path| read_to_string(path).expect("a WIT file")).collect();
    let then = read_to_string(sdk.join("src/bindings/made-of.wit")).expect("made-of.wit");
    assert_eq!(now, then, "wit/ has changed: run `cargo run` in sdk/rust/bindgen");
}
