//! Which objects of a store nothing needs any more. Pure decisions.

use super::types::Manifest;

/// The paths among `objects` that may be deleted after this manifest was written by its generation. What a later
/// generation wrote, what the manifest names and what is not known is left alone.
pub fn garbage(_manifest: &Manifest, _objects: &[String]) -> Vec<String> {
    Vec::new()
}
