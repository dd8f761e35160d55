//! The content of a stream of records: a file, or an object of a bucket.

use super::file_facts::FileFacts;
use super::object::Object;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

/// A source of bytes.
pub enum Content {
    /// A local file.
    File(File),
    /// An object of a bucket.
    Object(Box<Object>),
}

impl From<File> for Content {
    fn from(file: File) -> Content {
        Content::File(file)
    }
}

impl From<Object> for Content {
    fn from(object: Object) -> Content {
        Content::Object(Box::new(object))
    }
}

impl Content {
    /// Returns the identifying facts as of now. Those of an object are from when it was opened.
    pub fn facts(&self) -> io::Result<FileFacts> {
        match self {
            Content::File(file) => Ok(FileFacts::of(&file.metadata()?)),
            Content::Object(object) => Ok(object.facts()),
        }
    }

    /// Returns whether it has a length and can be read repeatedly.
    pub fn is_regular(&self) -> io::Result<bool> {
        match self {
            Content::File(file) => Ok(file.metadata()?.is_file()),
            Content::Object(_) => Ok(true),
        }
    }

    /// Reads as many of the first bytes as fit. The next read begins with them again.
    pub fn first(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Content::File(file) => file.read_at(bytes, 0),
            Content::Object(object) => object.first(bytes),
        }
    }

    /// Appends at most `bytes_max` bytes to the buffer; fewer means the end.
    pub fn fill(&mut self, buffer: &mut Vec<u8>, bytes_max: u64) -> io::Result<usize> {
        match self {
            // `File` can read into uninitialized room.
            Content::File(file) => (&*file).take(bytes_max).read_to_end(buffer),
            Content::Object(object) => object.fill(buffer, bytes_max),
        }
    }

    /// Seeks to an offset, which may be after the end.
    pub fn seek_to(&mut self, offset: u64) -> io::Result<()> {
        match self {
            Content::File(file) => file.seek(SeekFrom::Start(offset)).map(drop),
            Content::Object(object) => {
                object.seek_to(offset);
                Ok(())
            }
        }
    }

    /// Clones it at the current offset; reading from the clone may move this one.
    pub fn try_clone(&self) -> io::Result<Content> {
        match self {
            Content::File(file) => file.try_clone().map(Content::File),
            Content::Object(object) => Ok(Content::Object(object.clone())),
        }
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Content::File(file) => file.read(buffer),
            Content::Object(object) => object.read(buffer),
        }
    }
}
