//! stub
pub fn build(_: &std::path::Path) -> crate::error::Result<std::path::PathBuf> { Err(crate::error::Error::bug("")) }
