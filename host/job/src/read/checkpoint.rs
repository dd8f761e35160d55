//! The table `[checkpoint]` of a job file.

use crate::keys;
use crate::spec::{CheckpointEvery, CheckpointSpec};
use crate::table::{Reader, type_of};
use millstream_base::units;
use millstream_base::units::TIME_HELP;
use toml::Value;

/// Reads `[checkpoint]`, if it is set.
pub(crate) fn checkpoint(top: &Reader<'_>) -> Option<CheckpointSpec> {
    let r = top.inner("checkpoint", "[checkpoint] and dir = \"checkpoints/word-count\" below it")?;
    r.check_keys(keys::CHECKPOINT, keys::CHECKPOINT_KEYS_LATER, None);
    let example = "dir = \"checkpoints/word-count\"";
    r.need("dir", example);
    let dir = r.text("dir", example).unwrap_or_default().to_owned();
    Some(CheckpointSpec { dir, every: every(&r).unwrap_or_default() })
}

/// Reads a time, or a number of batches.
fn every(r: &Reader<'_>) -> Option<CheckpointEvery> {
    let help = format!("{TIME_HELP}, or a number of batches of at least 1");
    let name = format!("{}every", r.inside);
    let wrong = |message: String| {
        r.wrong("every", message);
        None
    };
    match r.table.get("every")? {
        Value::Integer(batches) => match u64::try_from(*batches) {
            Ok(batches @ 1..) => Some(CheckpointEvery::Batches(batches)),
            _ => wrong(format!(
                "`{name}` is {batches}; write a number of batches of at least 1, or a time such as \"10s\""
            )),
        },
        Value::String(text) => match units::time(text) {
            Ok(time) => Some(CheckpointEvery::Time(time)),
            Err(error) if error == TIME_HELP => {
                wrong(format!("`{name} = \"{text}\"` is neither a time nor a number; {help}"))
            }
            Err(error) => wrong(format!("`{name} = \"{text}\"` is not a time; {error}")),
        },
        other => wrong(format!("`{name}` is {}, needs a time or a number of batches; {help}", type_of(other))),
    }
}
