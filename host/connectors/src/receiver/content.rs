//! What a stream of records is read from: a file, or an object of a bucket.

use super::file_facts::FileFacts;
use super::object::Object;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

/// Bytes that stand somewhere.
pub enum Content {
    /// In a file.
    File(File),
    /// In an object of a bucket.
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
    /// What it is known by at the moment. An object is what it was when it was opened.
    pub fn facts(&self) -> io::Result<FileFacts> {
        match self {
            Content::File(file) => Ok(FileFacts::of(&file.metadata()?)),
            Content::Object(object) => Ok(object.facts()),
        }
    }

    /// Whether it has a length, and can be read a second time.
    pub fn is_regular(&self) -> io::Result<bool> {
        match self {
            Content::File(file) => Ok(file.metadata()?.is_file()),
            Content::Object(_) => Ok(true),
        }
    }

    /// The first bytes, as many as fit. The next read begins with them.
    pub fn first(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Content::File(file) => file.read_at(bytes, 0),
            Content::Object(object) => object.first(bytes),
        }
    }

    /// Adds at most so many bytes to the buffer; less is the end.
    pub fn fill(&mut self, buffer: &mut Vec<u8>, bytes_max: u64) -> io::Result<usize> {
        match self {
            // A file knows how to fill room that nobody has cleared.
            Content::File(file) => (&*file).take(bytes_max).read_to_end(buffer),
            Content::Object(object) => object.fill(buffer, bytes_max),
        }
    }

    /// Goes to a byte, which need not be there.
    pub fn seek_to(&mut self, offset: u64) -> io::Result<()> {
        match self {
            Content::File(file) => file.seek(SeekFrom::Start(offset)).map(drop),
            Content::Object(object) => {
                object.seek_to(offset);
                Ok(())
            }
        }
    }

    /// The same, from where it stands; what is read there need not be read here.
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
