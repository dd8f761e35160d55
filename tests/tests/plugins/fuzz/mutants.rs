//! Plugins with changed bytes. Most do not load; those that do are described and called.

use super::calls;
use super::checked;
use super::driver::Run;
use arbitrary::{Result as Arbitrary, Unstructured};
use millstream::error::Result;
use millstream::internals::package::difference::compare;
use millstream::internals::package::facts::PackageFacts;
use millstream::internals::package::manifest::{self, EncodedPackage};
use millstream::internals::plugin::{PluginHost, StageUse};
use millstream::job::spec::{OnError, PluginLimits};
use millstream_tests::fault::{cases, good_plugin, sections};
use millstream_tests::root;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One of this many inputs uses a plugin that a compiler made. They are a hundred times as large.
const LARGE_ONE_OF: u32 = 24;
/// The number of changes of a mutant: with few it is more likely to load.
const CHANGES: [usize; 6] = [1, 1, 1, 1, 2, 4];
const ROWS: usize = 4;

/// A host without a cache, and a file that components are loaded from.
pub struct Loading {
    dir: tempfile::TempDir,
    host: PluginHost,
    loads: usize,
    called: usize,
    returned: usize,
}

impl Drop for Loading {
    fn drop(&mut self) {
        let Loading { loads, called, returned, .. } = self;
        eprintln!("fuzz: of {loads} components {called} could be called, and {returned} returned something valid");
    }
}

impl Loading {
    /// A loader without loaded components.
    pub fn new() -> Loading {
        Loading {
            dir: tempfile::tempdir().unwrap(),
            host: PluginHost::new().unwrap(),
            loads: 0,
            called: 0,
            returned: 0,
        }
    }

    /// Writes, loads, describes and calls a component under small limits; an error says what is wrong with the host.
    pub fn check(&mut self, component: &[u8], on_error: OnError) -> Result<calls::Outcome, String> {
        self.loads += 1;
        read_metadata(component)?;
        let path = self.dir.path().join("mutant.wasm");
        std::fs::write(&path, component).unwrap();
        match call_plugin(&self.host, &path, on_error, &mut self.called) {
            Ok(Some(outcome)) => {
                self.returned += 1;
                checked::outcome(&outcome, ROWS).map(|()| outcome)
            }
            Ok(None) => Ok(calls::Outcome::default()),
            Err(error) => checked::error(&error).map(|()| calls::Outcome::default()),
        }
    }
}

/// Reads, compares and packs the metadata of any component.
fn read_metadata(component: &[u8]) -> Result<(), String> {
    let Ok(facts) = PackageFacts::read(component, "mutant") else { return Ok(()) };
    if !compare(&facts, &facts).is_empty() {
        return Err("a package differs from itself".into());
    }
    // Most mutants have no name.
    let Ok(made) = EncodedPackage::pack(component.to_vec(), &facts) else { return Ok(()) };
    manifest::read(&made.manifest, "mutant").map(drop).map_err(|error| error.message)
}

/// Returns the outcome of a call, or `None` if it reads rows that cannot be generated.
fn call_plugin(
    host: &PluginHost,
    path: &Path,
    on_error: OnError,
    called: &mut usize,
) -> Result<Option<calls::Outcome>> {
    let plugin = host.load(path, &calls::options(on_error))?;
    let limits = PluginLimits {
        memory_bytes_max: 16 << 20,
        time_max: Duration::from_millis(50),
        fuel_max: Some(2_000_000),
        output_bytes_max: 1 << 20,
        output_rows_max: 100_000,
        attempts_max: 20,
        compile_time_max: Duration::from_secs(10),
        ..PluginLimits::default()
    };
    let stage = StageUse { limits, on_error, config: "{\"column\":\"value\"}".into(), ..StageUse::new("mutant") };
    let description = calls::describe(&plugin, &stage)?;
    checked::description(&description).unwrap_or_else(|text| panic!("{text}"));
    let Some(rows) = calls::rows_of(&description.input, ROWS) else { return Ok(None) };
    let mut caller = plugin.caller(stage, &description);
    *called += 1;
    calls::call(&plugin, &mut caller, &description, &rows).map(Some)
}

/// Mutants of the smallest plugins, of the corpus, and of those that a compiler made.
pub fn target() -> Run {
    let mut small: Vec<Vec<u8>> = ["transform", "update", "aggregate", "cogroup"].map(good_plugin).to_vec();
    small.extend(cases().iter().filter(|case| case.in_process && case.is_small()).map(|case| case.component()));
    let large: Vec<Vec<u8>> = built().iter().map(|path| std::fs::read(path).unwrap()).collect();
    assert!(!large.is_empty(), "no plugin is built; `make build` builds them");
    let mut loading = Loading::new();
    Box::new(move |bytes| {
        let mut u = Unstructured::new(bytes);
        let Ok((mutant, on_error)) = mutant(&small, &large, &mut u) else { return Ok(()) };
        loading.check(&mutant, on_error).map(drop)
    })
}

/// The components of our plugins, in an order that does not change.
fn built() -> Vec<PathBuf> {
    let dirs = ["plugins", "tests/plugins"].map(|dir| std::fs::read_dir(root().join(dir)).unwrap());
    let dirs = dirs.into_iter().flatten().map(|dir| dir.unwrap().path());
    let mut files: Vec<PathBuf> = dirs
        .filter_map(|dir| Some(dir.join(format!("{}.wasm", dir.file_name()?.to_str()?))))
        .filter(|file| file.is_file())
        .collect();
    files.sort();
    files
}

fn mutant(small: &[Vec<u8>], large: &[Vec<u8>], u: &mut Unstructured<'_>) -> Arbitrary<(Vec<u8>, OnError)> {
    let bases = if u.ratio(1, LARGE_ONE_OF)? { large } else { small };
    let mut bytes = u.choose(bases)?.clone();
    let on_error = if u.ratio(1, 4)? { OnError::Reject } else { OnError::Fail };
    for _ in 0..*u.choose(&CHANGES)? {
        change(&mut bytes, small, u)?;
    }
    Ok((bytes, on_error))
}

fn change(bytes: &mut Vec<u8>, others: &[Vec<u8>], u: &mut Unstructured<'_>) -> Arbitrary<()> {
    let mut at = u.int_in_range(0..=bytes.len().saturating_sub(1))?;
    if u.ratio(3, 4)? {
        // In the module, which has code and data; after changes outside of it the component's own types would hardly match.
        let module = sections(bytes).into_iter().find(|section| bytes.get(section.start) == Some(&1));
        at = module.map_or(at, |module| module.start + at % module.len());
    }
    let length = u.int_in_range(1..=64)?;
    let end = (at + length).min(bytes.len());
    match u.int_in_range(0..=11)? {
        // Bits and bytes are changed most often: such mutants are most likely to load.
        0..=3 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (length % 8)),
        4 | 5 => {
            let value = *u.choose(&[0, 1, 0x0b, 0x3f, 0x40, 0x41, 0x7f, 0x80, 0xff])?;
            bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = value);
        }
        // A number of five bytes, as lengths and indexes are.
        6 => bytes.splice(at..end.min(at + 5), [0xff, 0xff, 0xff, 0xff, 0x0f]).for_each(drop),
        7 => bytes.truncate(at),
        8 => bytes.drain(at..end).for_each(drop),
        9 => {
            let other = u.choose(others)?;
            let from = u.int_in_range(0..=other.len().saturating_sub(1))?;
            let piece = other[from..(from + length).min(other.len())].to_vec();
            bytes.splice(at..end, piece).for_each(drop);
        }
        10 => {
            // A section twice.
            let all = sections(bytes);
            if let Some(section) = all.get(at % all.len().max(1)) {
                let copy = bytes[section.clone()].to_vec();
                bytes.splice(section.end..section.end, copy).for_each(drop);
            }
        }
        _ => {
            // Two adjacent sections are swapped.
            let all = sections(bytes);
            if let Some([first, second]) = all.windows(2).nth(at % all.len().max(1)) {
                bytes[first.start..second.end].rotate_left(first.len());
            }
        }
    }
    Ok(())
}
