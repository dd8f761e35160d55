//! A folder of this machine.

use super::super::{exactly_once, first_part};
use super::{Destination, MarkerTag};
use crate::sink::marker::{self, Marker};
use millstream_base::durable::{folder_of, sync_folder};
use millstream_base::owner::Owner;
use millstream_base::patience::{StoreError, io_failed};
use millstream_base::private;
use millstream_base::regular;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The longest path that the system takes: its limit counts a zero byte.
const PATH_BYTES_MAX: usize = libc::PATH_MAX as usize - 1;

/// A folder that is there.
pub struct FolderDestination(PathBuf);

impl FolderDestination {
    /// The folder of this path.
    pub fn new(path: PathBuf) -> FolderDestination {
        FolderDestination(path)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn done<T>(&self, what: &str, name: &str, done: io::Result<T>) -> Result<T, StoreError> {
        done.map_err(|cause| io_failed(format!("{what} {}", self.at(name).display()), &cause))
    }
}

impl Destination for FolderDestination {
    fn shown(&self) -> String {
        format!("the folder {}", self.0.display())
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
                    found.check_ours(owner)?;
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
            fs::create_dir_all(folder_of(&path))?;
            private::make_anew(&path)
        };
        self.done("make", hidden, make())
    }

    fn stage(&self, hidden: &str, file: &mut File) -> Result<(), StoreError> {
        // The name, too: the marker is going to count on it.
        let sync = || {
            file.sync_all()?;
            sync_folder(folder_of(&self.at(hidden)))
        };
        self.done("write", hidden, sync())
    }

    fn show(&self, hidden: &str, part: &str) -> Result<(), StoreError> {
        let (from, to) = (self.at(hidden), self.at(part));
        let show = || {
            if !from.try_exists()? {
                // It has been done before.
                return Ok(());
            }
            if to.try_exists()? {
                return Err(io::Error::other(
                    "it exists already, and nothing is overwritten: is another job writing here?",
                ));
            }
            make_folders(&self.0, folder_of(&to))?;
            fs::rename(&from, &to)?;
            sync_folder(folder_of(&to))
        };
        self.done("write", part, show())
    }

    fn write(&self, hidden: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        let path = self.at(hidden);
        let write = || {
            fs::create_dir_all(folder_of(&path))?;
            let mut file = private::make_anew(&path)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            sync_folder(folder_of(&path))
        };
        self.done("write", hidden, write())
    }

    fn read(&self, hidden: &str) -> Result<Option<Vec<u8>>, StoreError> {
        match regular::read(self.at(hidden)) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            read => self.done("read", hidden, read.map(Some)),
        }
    }

    fn hidden(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        let list = || match fs::read_dir(self.at(folder)) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            entries => entries?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect(),
        };
        self.done("read", folder, list())
    }

    fn remove(&self, hidden: &str) -> Result<(), StoreError> {
        let removed = match fs::remove_file(self.at(hidden)) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        };
        self.done("remove", hidden, removed)
    }

    fn names(&self, folder: &str, behind: &str) -> Result<Vec<String>, StoreError> {
        let mut names = self.hidden(folder)?;
        names.retain(|name| name.as_str() > behind);
        Ok(names)
    }

    fn create(&self, name: &str, bytes: Vec<u8>) -> Result<bool, StoreError> {
        let path = self.at(name);
        let create = || {
            make_folders(&self.0, folder_of(&path))?;
            // Nobody sees half of it, and a link never takes the place of another file.
            let everyone = fs::Permissions::from_mode(0o666);
            let mut builder = tempfile::Builder::new();
            let mut file = builder.prefix(".").suffix(".tmp").permissions(everyone).tempfile_in(folder_of(&path))?;
            file.write_all(&bytes)?;
            file.as_file().sync_all()?;
            let made = match fs::hard_link(file.path(), &path) {
                Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => false,
                made => made.map(|()| true)?,
            };
            drop(file);
            sync_folder(folder_of(&path)).map(|()| made)
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

/// Makes a folder below another one, and the names on the way durable.
fn make_folders(root: &Path, folder: &Path) -> io::Result<()> {
    if folder == root || folder.is_dir() {
        return Ok(());
    }
    make_folders(root, folder_of(folder))?;
    match fs::create_dir(folder) {
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {}
        made => made?,
    }
    sync_folder(folder_of(folder))
}
