//! Read-only files that the job grants by name (broadcast variables): `grant = { files = { name = "path" } }`.

/// Returns the content of a granted file, or an error if the job grants no file of this name. In tests, it reads the file of this
/// name in `testdata/` of the package.
#[cfg(target_arch = "wasm32")]
pub fn read_all(name: &str) -> Result<Vec<u8>, crate::Error> {
    use crate::bindings::transform::millstream::plugin::files;
    let size = files::size(name).map_err(crate::Error::config)?;
    let length = u32::try_from(size).map_err(|_| crate::Error::config(format!("the file `{name}` is too large")))?;
    let mut bytes = files::read(name, 0, length).map_err(crate::Error::config)?;
    // The host may return a large file in pieces.
    while (bytes.len() as u64) < size {
        let rest = u32::try_from(size - bytes.len() as u64).unwrap_or(u32::MAX);
        let piece = files::read(name, bytes.len() as u64, rest).map_err(crate::Error::config)?;
        if piece.is_empty() {
            return Err(crate::Error::internal(format!("the file `{name}` ended at {} of {size} bytes", bytes.len())));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// Returns the content of a granted file, or an error if the job grants no file of this name. In tests, it reads the file of this
/// name in `testdata/` of the package.
#[cfg(not(target_arch = "wasm32"))]
pub fn read_all(name: &str) -> Result<Vec<u8>, crate::Error> {
    let path = std::path::Path::new("testdata").join(name);
    std::fs::read(&path).map_err(|error| crate::Error::config(format!("{}: {error}", path.display())))
}
