//! A local directory.

use super::super::{exactly_once, first_part};
use super::{Destination, MarkerTag};
use millstream_base::durable::{dir_of, sync_dir};
use millstream_base::owner::Owner;
use millstream_base::private;
use millstream_base::regular;
use millstream_base::retry::{StoreError, io_failed};
use millstream_connect::sink::marker::{self, Marker};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The longest path that the system accepts: its limit includes the NUL byte.
const PATH_BYTES_MAX: usize = libc::PATH_MAX as usize - 1;

/// An existing directory.
pub struct DirDestination(PathBuf);

impl DirDestination {
    /// Returns the destination for the directory at this path.
    pub fn new(path: PathBuf) -> DirDestination {
        DirDestination(path)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn done<T>(&self, what: &str, name: &str, done: io::Result<T>) -> Result<T, StoreError> {
        done.map_err(|cause| io_failed(format!("{what} {}", self.at(name).display()), &cause))
    }
}

impl Destination for DirDestination {
    fn shown(&self) -> String {
        format!("the directory {}", self.0.display())
    }

    fn too_long(&self, name: &str) -> Option<usize> {
        (self.at(name).as_os_str().len() > PATH_BYTES_MAX).then_some(PATH_BYTES_MAX)
    }

    fn marker(&self, name: &str) -> Result<Option<(Marker, MarkerTag)>, StoreError> {
        let found = self.done("read", name, marker::read(&self.at(name)))?;
        Ok(found.map(|marker| (marker, MarkerTag::default())))
    }

    fn replace_marker(
        &self,
        name: &str,
        marker: &Marker,
        before: Option<&MarkerTag>,
        owner: &Owner,
    ) -> Result<MarkerTag, StoreError> {
        let path = self.at(name);
        let replace = || {
            match marker::read(&path)? {
                Some(found) => {
                    found.check_owner(owner)?;
                    if found.generation != marker.generation {
                        return marker::take_over(&path, marker);
                    }
                }
                None if before.is_some() => {
                    return Err(io::Error::other(format!(
                        "the marker {} is missing; what deleted it?",
                        path.display()
                    )));
                }
                None => {}
            }
            marker::replace(&path, marker)
        };
        self.done("write", name, replace()).map(|()| MarkerTag::default())
    }

    fn workers(&self) -> Result<Vec<usize>, StoreError> {
        self.done("read", "", exactly_once::workers(&self.0))
    }

    fn any_part(&self) -> Result<Option<String>, StoreError> {
        self.done("read", "", first_part(&self.0))
    }

    fn begin(&self, hidden: &str) -> Result<File, StoreError> {
        let path = self.at(hidden);
        let make = || {
            fs::create_dir_all(dir_of(&path))?;
            private::replace_with_new(&path)
        };
        self.done("make", hidden, make())
    }

    fn stage(&self, hidden: &str, file: &mut File) -> Result<(), StoreError> {
        // The name must be durable, too, as the marker will depend on it.
        let sync = || {
            file.sync_all()?;
            sync_dir(dir_of(&self.at(hidden)))
        };
        self.done("write", hidden, sync())
    }

    fn show(&self, hidden: &str, part: &str) -> Result<(), StoreError> {
        let (from, to) = (self.at(hidden), self.at(part));
        let show = || {
            if !from.try_exists()? {
                // An earlier attempt has done it.
                return Ok(());
            }
            if to.try_exists()? {
                return Err(io::Error::other(
                    "it exists already, and nothing is overwritten: is another job writing here?",
                ));
            }
            make_dirs(&self.0, dir_of(&to))?;
            fs::rename(&from, &to)?;
            sync_dir(dir_of(&to))
        };
        self.done("write", part, show())
    }

    fn write(&self, hidden: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        let path = self.at(hidden);
        let write = || {
            fs::create_dir_all(dir_of(&path))?;
            let mut file = private::replace_with_new(&path)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            sync_dir(dir_of(&path))
        };
        self.done("write", hidden, write())
    }

    fn read(&self, hidden: &str) -> Result<Option<Vec<u8>>, StoreError> {
        match regular::read(self.at(hidden)) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            read => self.done("read", hidden, read.map(Some)),
        }
    }

    fn hidden(&self, dir: &str) -> Result<Vec<String>, StoreError> {
        let list = || match fs::read_dir(self.at(dir)) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            entries => entries?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect(),
        };
        self.done("read", dir, list())
    }

    fn remove(&self, hidden: &str) -> Result<(), StoreError> {
        let removed = match fs::remove_file(self.at(hidden)) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        };
        self.done("remove", hidden, removed)
    }

    fn names(&self, dir: &str, after: &str) -> Result<Vec<String>, StoreError> {
        let mut names = self.hidden(dir)?;
        names.retain(|name| name.as_str() > after);
        Ok(names)
    }

    fn create(&self, name: &str, bytes: Vec<u8>) -> Result<bool, StoreError> {
        let path = self.at(name);
        let create = || {
            make_dirs(&self.0, dir_of(&path))?;
            // Readers see the file only when it is complete, and a link never replaces another file.
            let everyone = fs::Permissions::from_mode(0o666);
            let mut builder = tempfile::Builder::new();
            let mut file = builder.prefix(".").suffix(".tmp").permissions(everyone).tempfile_in(dir_of(&path))?;
            file.write_all(&bytes)?;
            file.as_file().sync_all()?;
            let result = match fs::hard_link(file.path(), &path) {
                Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => false,
                result => result.map(|()| true)?,
            };
            drop(file);
            sync_dir(dir_of(&path)).map(|()| result)
        };
        self.done("write", name, create())
    }

    fn size(&self, name: &str) -> Result<Option<u64>, StoreError> {
        match fs::metadata(self.at(name)) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            found => self.done("read", name, found.map(|found| Some(found.len()))),
        }
    }
}

/// Creates a directory below another one, and makes the names on the way durable.
fn make_dirs(root: &Path, dir: &Path) -> io::Result<()> {
    if dir == root || dir.is_dir() {
        return Ok(());
    }
    make_dirs(root, dir_of(dir))?;
    match fs::create_dir(dir) {
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
        result => result?,
    }
    sync_dir(dir_of(dir))
}
