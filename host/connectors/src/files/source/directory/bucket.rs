//! The objects below a prefix of a bucket, as a directory of files. Servers list them in the order of their names, so names after the last one are
//! listed without the others. Periodically all are listed, to find names in between.

use super::walk::Walk;
use super::{Dir, ScanResult, takes_by};
use crate::files::source::content::Content;
use crate::files::source::file::{OTHER_OBJECT, OpenedFile, SourceFile};
use crate::files::source::file_facts::FileFacts;
use crate::files::source::object::{BucketReader, facts};
use crate::files::source::settings::FilesRead;
use crate::limits::OBJECTS_LIST_ALL_MS;
use millstream_base::error::Error;
use millstream_rows::batch::position::Position;
use object_store::list::PaginatedListOptions;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The pause between full listings, as a multiple of the time that one takes.
const REST: u32 = 20;

/// What is below a prefix of a bucket.
pub struct BucketDir {
    reader: BucketReader,
    walk: Walk,
    subfolders: bool,
    /// The last existing name, with the prefix.
    last: Option<String>,
    /// When all names are listed again; `None`: at the next scan.
    all_again: Option<Instant>,
}

impl BucketDir {
    /// Creates the directory of a source.
    pub fn new(files: &FilesRead, reader: BucketReader) -> BucketDir {
        let (walk, subfolders) = (Walk::new(files), files.subfolders);
        BucketDir { reader, walk, subfolders, last: None, all_again: None }
    }

    /// Lists names page by page. Returns the number of pages and of names.
    fn list(
        &mut self,
        after: Option<&str>,
        see: &mut dyn FnMut(OsString, Option<FileFacts>),
    ) -> Result<(usize, usize), io::Error> {
        let (mut pages, mut names, mut token) = (0, 0, None);
        loop {
            let (bucket, requested) = (&self.reader.bucket, token.clone());
            let (client, prefix) = (bucket.client(), bucket.prefix().to_owned());
            let options = PaginatedListOptions {
                offset: after.map(str::to_owned).filter(|_| token.is_none()),
                // Deeper names are not reported at all.
                delimiter: (!self.subfolders).then(|| "/".into()),
                page_token: token.take(),
                ..PaginatedListOptions::default()
            };
            let begins = Some(prefix.clone()).filter(|prefix| !prefix.is_empty());
            let list = async move { client.list_paginated(begins.as_deref(), options).await };
            let page = bucket.run("list", "", list).map_err(io::Error::other)?;
            pages += 1;
            for meta in page.result.objects {
                let key = meta.location.as_ref();
                names += 1;
                if self.last.as_deref().is_none_or(|last| last < key) {
                    self.last = Some(key.to_owned());
                }
                // Consoles create empty objects to show a directory. An empty object has no records.
                let name = key.strip_prefix(&prefix).filter(|name| meta.size > 0 && !name.is_empty());
                if let Some(name) = name.filter(|name| takes_by(&self.walk, self.subfolders, Path::new(name))) {
                    see(name.into(), Some(facts(&meta)));
                }
            }
            if page.page_token.is_some() && page.page_token == requested {
                let message = format!("the server lists the same names of {} repeatedly", bucket.url());
                return Err(io::Error::other(Error::environment(message)));
            }
            token = page.page_token;
            if token.is_none() {
                return Ok((pages, names));
            }
            self.reader.goes_on().map_err(io::Error::other)?;
        }
    }
}

impl Dir for BucketDir {
    fn look(&mut self, see: &mut dyn FnMut(OsString, Option<FileFacts>)) -> Result<ScanResult, (PathBuf, io::Error)> {
        let began = Instant::now();
        let all = self.all_again.is_none_or(|again| again <= began) || self.last.is_none();
        let after = self.last.take().filter(|_| !all);
        let url = PathBuf::from(self.reader.bucket.url());
        let listed = self.list(after.as_deref(), see);
        // If nothing follows it, it is still the last.
        self.last = self.last.take().or(after);
        let (pages, names) = listed.map_err(|error| {
            // An error discards the names that were reported before it.
            self.all_again = None;
            (url, error)
        })?;
        if all {
            let rest = Duration::from_millis(OBJECTS_LIST_ALL_MS).max(began.elapsed() * REST);
            // If one response has all names, listing all costs no more.
            self.all_again = (pages > 1).then(|| Instant::now() + rest);
        }
        Ok(ScanResult { complete: all && names > 0, changed: false, slow: false })
    }

    fn open(&self, name: &str, _: &Path) -> Result<Option<Content>, Error> {
        Ok(self.reader.open_new(name)?.map(Content::from))
    }

    fn open_again<'a>(&self, part: SourceFile<'a>, from: Position) -> Result<Option<OpenedFile<'a>>, Error> {
        match self.reader.open(&part.name)? {
            Some(object) if !part.is_same_object(&object.facts(), from) => Err(part.changed(from, OTHER_OBJECT)),
            Some(object) => part.at(object, from).map(Some),
            None => Err(part.changed(from, "it no longer exists")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::source::settings::DirectoryReads;
    use millstream_connect::objects::Bucket;
    use millstream_job::spec::SourceSpec;
    use object_store::RetryConfig;
    use std::io::{BufRead, BufReader, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::{Arc, Mutex};

    /// Names per response.
    const PAGE: usize = 2;

    /// A server that lists these keys, and the requests that it received.
    #[derive(Clone, Default)]
    struct Server {
        keys: Arc<Mutex<Vec<String>>>,
        requests: Arc<Mutex<Vec<String>>>,
    }

    impl Server {
        fn serve(&self, mut stream: &TcpStream) -> io::Result<()> {
            let (mut lines, mut request) = (BufReader::new(stream), String::new());
            lines.read_line(&mut request)?;
            loop {
                let mut line = String::new();
                lines.read_line(&mut line)?;
                if line.trim().is_empty() {
                    break;
                }
            }
            let value = |name: &str| {
                let found = request.split(['?', '&', ' ']).find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
                found.map(|value| value.replace("%2F", "/"))
            };
            let after_name = value("continuation-token").or_else(|| value("start-after")).unwrap_or_default();
            let kind = if value("continuation-token").is_some() { "more" } else { "behind" };
            self.requests.lock().unwrap().push(format!("{kind} {after_name}"));
            let keys = self.keys.lock().unwrap().clone();
            let left: Vec<_> = keys.iter().filter(|key| **key > after_name).collect();
            let shown = left.iter().take(PAGE).map(|key| {
                format!(
                    "<Contents><Key>{key}</Key><Size>{}</Size><ETag>e</ETag>\
                     <LastModified>2026-01-01T00:00:00Z</LastModified></Contents>",
                    usize::from(!key.ends_with("empty"))
                )
            });
            let shown: String = shown.collect();
            let next = left.get(PAGE - 1).filter(|_| left.len() > PAGE);
            let next =
                next.map_or(String::new(), |key| format!("<NextContinuationToken>{key}</NextContinuationToken>"));
            let text = format!("<ListBucketResult>{shown}{next}</ListBucketResult>");
            let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", text.len());
            stream.write_all((head + &text).as_bytes())
        }

        fn dir(&self) -> BucketDir {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let endpoint = format!("http://{}", listener.local_addr().unwrap());
            let server = self.clone();
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    // A client may close its connection early.
                    let _ = server.serve(&stream.unwrap());
                }
            });
            let settings = [
                ("AWS_ENDPOINT_URL", endpoint.as_str()),
                ("AWS_ALLOW_HTTP", "true"),
                ("AWS_REGION", "us-east-1"),
                ("AWS_ACCESS_KEY_ID", "test"),
                ("AWS_SECRET_ACCESS_KEY", "test"),
            ];
            let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let spec = SourceSpec::from_config("in", DirectoryReads::new("s3://bucket/in"));
            let files = FilesRead { pattern: None, subfolders: true };
            let bucket = Bucket::open("s3://bucket/in", &settings, RetryConfig::default()).unwrap();
            BucketDir::new(&files, BucketReader::of(&spec, bucket, Arc::new(|_| true)))
        }

        /// Returns the names that a scan reports, whether they are all, and the requests.
        fn look(&self, dir: &mut BucketDir) -> (Vec<String>, bool, Vec<String>) {
            let mut names = Vec::new();
            let found = dir.look(&mut |name, _| names.push(name.into_string().unwrap())).unwrap();
            (names, found.complete, std::mem::take(&mut self.requests.lock().unwrap()))
        }

        fn has(&self, keys: &[&str]) {
            *self.keys.lock().unwrap() = keys.iter().map(|key| format!("in/{key}")).collect();
        }
    }

    #[test]
    fn names_behind_the_last_are_listed_without_the_others() {
        let server = Server::default();
        let mut dir = server.dir();
        let strings = |strings: &[&str]| strings.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(server.look(&mut dir), (Vec::new(), false, strings(&["behind "])), "nothing tells nothing");
        server.has(&["a", "b.tmp", "c", "d/_e", "d/empty", "d/f"]);
        let all = strings(&["behind ", "more in/b.tmp", "more in/d/_e"]);
        assert_eq!(server.look(&mut dir), (strings(&["a", "c", "d/f"]), true, all.clone()));
        assert_eq!(server.look(&mut dir), (Vec::new(), false, strings(&["behind in/d/f"])));
        server.has(&["a", "b", "c", "d/f", "g", "h", "i"]);
        let more = strings(&["behind in/d/f", "more in/h"]);
        assert_eq!(server.look(&mut dir), (strings(&["g", "h", "i"]), false, more));
        assert_eq!(server.look(&mut dir), (Vec::new(), false, strings(&["behind in/i"])));
        // All are listed when it is time, and always if one response has them all.
        dir.all_again = Some(Instant::now());
        let (names, complete, _) = server.look(&mut dir);
        assert_eq!((names, complete), (strings(&["a", "b", "c", "d/f", "g", "h", "i"]), true));
        server.has(&["a"]);
        dir.all_again = Some(Instant::now());
        for _ in 0..2 {
            assert_eq!(server.look(&mut dir), (strings(&["a"]), true, strings(&["behind "])));
        }
    }
}
