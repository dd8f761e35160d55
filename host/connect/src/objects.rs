//! Object store buckets: access, credentials, and the meaning of errors. Calls block; they may come from any thread.

mod error_response;
mod cloud;
#[cfg_attr(not(feature = "hdfs"), path = "objects/hdfs/absent.rs")]
mod hdfs;

pub use cloud::{Client, Cloud, CloudSetupError, amazon, check_amazon_http};
pub use error_response::{is_transient, no_bucket};
pub use hdfs::is_draft;

use millstream_base::error::{Error, Result as JobResult};
use millstream_base::fault;
use millstream_base::regular;
use millstream_base::retry::{StoreError, StoreErrorKind};
use object_store::list::PaginatedListOptions;
use object_store::path::Path;
use object_store::{Error as ClientError, ObjectMeta, RetryConfig};
use std::future::Future;
use std::sync::{Arc, mpsc};
use tokio::runtime::{Builder, Runtime};

/// A bucket, and a prefix of all names in it.
pub struct Bucket {
    client: Arc<dyn Client>,
    /// Runs requests, so that a call may come from any thread. `None` only during drop.
    runtime: Option<Runtime>,
    url: String,
    /// Precedes all names: empty, or with a trailing `/`.
    prefix: String,
    cloud: Cloud,
}

/// Returns the environment variables with endpoints and credentials of object stores.
pub fn environment() -> Vec<(String, String)> {
    let text = |text: std::ffi::OsString| text.into_string().ok();
    std::env::vars_os().filter_map(|(name, value)| Some((text(name)?, text(value)?))).collect()
}

/// Environment variables that name files which the object store libraries read.
const FILES: [&str; 6] = [
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AZURE_FEDERATED_TOKEN_FILE",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_SERVICE_ACCOUNT",
    "GOOGLE_SERVICE_ACCOUNT_PATH",
];

/// Environment variables that name directories in which these files are read.
const DIRS: [&str; 1] = ["HADOOP_CONF_DIR"];
const FILES_OF_DIRS: [&str; 2] = ["core-site.xml", "hdfs-site.xml"];

/// Rejects files on which those libraries would block: pipes and devices.
fn check_files(settings: &[(String, String)]) -> JobResult<()> {
    regular::check_certificates().map_err(Error::environment)?;
    for (name, path) in settings {
        let path = std::path::Path::new(path);
        let files = match name.to_ascii_uppercase().as_str() {
            name if FILES.contains(&name) => vec![path.to_owned()],
            name if DIRS.contains(&name) => FILES_OF_DIRS.map(|file| path.join(file)).into(),
            _ => continue,
        };
        let other =
            |file: &std::path::PathBuf| std::fs::metadata(file).is_ok_and(|found| !found.is_file() && !found.is_dir());
        if let Some(file) = files.iter().find(|file| other(file)) {
            let why = regular::NOT_REGULAR;
            return Err(Error::environment(format!("{name}: cannot read `{}`: {why}", file.display())));
        }
    }
    Ok(())
}

impl Bucket {
    /// Opens `s3://bucket/prefix`, or the equivalent of another cloud. Settings are environment variables, of which those of the cloud
    /// apply. Sends no request.
    pub fn open(url: &str, settings: &[(String, String)], retry: RetryConfig) -> JobResult<Bucket> {
        let wrong =
            || Error::job(format!("\"{url}\" is not a bucket and prefix; write for example \"s3://bucket/prefix\""));
        let (cloud, rest) = Cloud::from_url(url).ok_or_else(wrong)?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_end_matches('/');
        let bucket_url = format!("{}{bucket}/{prefix}", cloud.scheme()).trim_end_matches('/').to_owned();
        check_files(settings)?;
        if !cloud.is_bucket(bucket) || !(prefix.is_empty() || is_name(prefix)) {
            return Err(wrong());
        }
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("objects").enable_all().build();
        let runtime = runtime.map_err(|e| {
            Error::environment(format!(
                "cannot start a thread for {bucket_url}: {e}{}",
                millstream_base::memory::addresses::advice()
            ))
        })?;
        let client = cloud.client(bucket, settings, retry, runtime.handle());
        let client = client.map_err(|error| error.into_error(&bucket_url))?;
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Ok(Bucket { client, runtime: Some(runtime), url: bucket_url, prefix, cloud })
    }

    /// Returns its cloud.
    pub fn cloud(&self) -> Cloud {
        self.cloud
    }

    /// Returns the client for requests.
    pub fn client(&self) -> Arc<dyn Client> {
        self.client.clone()
    }

    /// Returns the bucket and the prefix as a URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the prefix of all names: empty, or with a trailing `/`.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Returns the path of the object with this name; `None`: the name is invalid.
    pub fn at(&self, name: &str) -> Option<Path> {
        if is_name(name) { Path::parse(format!("{}{name}", self.prefix)).ok() } else { None }
    }

    /// Lists the objects whose names begin with `begin`, page by page, and returns what `take` selects; with `one`, stops at the first
    /// result.
    pub fn list<T: Send + 'static>(
        &self,
        name: &str,
        begin: &str,
        one: bool,
        take: impl Fn(&str, &ObjectMeta) -> Option<T> + Send + 'static,
    ) -> Result<Vec<T>, StoreError> {
        self.list_from(name, begin, None, one, take)
    }

    /// Lists like [`list`](Self::list), but only names greater than this one, from where the server begins its list.
    pub fn list_after<T: Send + 'static>(
        &self,
        name: &str,
        begin: &str,
        after: &str,
        take: impl Fn(&str, &ObjectMeta) -> Option<T> + Send + 'static,
    ) -> Result<Vec<T>, StoreError> {
        let after = (!after.is_empty()).then(|| format!("{}{begin}{after}", self.prefix));
        self.list_from(name, begin, after, false, take)
    }

    fn list_from<T: Send + 'static>(
        &self,
        name: &str,
        begin: &str,
        after: Option<String>,
        one: bool,
        take: impl Fn(&str, &ObjectMeta) -> Option<T> + Send + 'static,
    ) -> Result<Vec<T>, StoreError> {
        let (client, prefix) = (self.client.clone(), self.prefix.clone());
        let begins = format!("{prefix}{begin}");
        self.run("list", name, async move {
            let (mut found, mut page_token) = (Vec::new(), None);
            loop {
                let offset = after.clone();
                let options = PaginatedListOptions { page_token, offset, ..PaginatedListOptions::default() };
                let page = match client.list_paginated(Some(&begins), options).await {
                    // In a store with directories, this one does not exist yet.
                    Err(error @ ClientError::NotFound { .. }) if !no_bucket(&error) => return Ok(found),
                    page => page?,
                };
                let taken = |object: &ObjectMeta| take(object.location.as_ref().strip_prefix(&prefix)?, object);
                found.extend(page.result.objects.iter().filter_map(taken));
                page_token = page.page_token;
                if page_token.is_none() || (one && !found.is_empty()) {
                    return Ok(found);
                }
            }
        })
    }

    /// Runs requests to their end. Blocks; the thread may belong to any runtime or to none.
    pub fn run<T: Send + 'static>(
        &self,
        what: &str,
        name: &str,
        requests: impl Future<Output = Result<T, ClientError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.result(what, name, self.start(requests))
    }

    /// Starts requests.
    pub fn start<T: Send + 'static>(
        &self,
        requests: impl Future<Output = Result<T, ClientError>> + Send + 'static,
    ) -> Requests<T> {
        let (done, result) = mpsc::sync_channel(1);
        if let Some(runtime) = &self.runtime {
            runtime.spawn(async move {
                let requests = async move {
                    fault::thread("s3-request");
                    requests.await
                };
                let _ = done.send(tokio::spawn(requests).await);
            });
        }
        Requests(result)
    }

    /// Waits for the end of requests.
    pub fn result<T>(&self, what: &str, name: &str, requests: Requests<T>) -> Result<T, StoreError> {
        match requests.0.recv() {
            Ok(Ok(result)) => result.map_err(|error| self.failed(what, name, &error)),
            // A retry would fail in the same way.
            Ok(Err(ended)) => Err(self.error(what, name, format!("the request panicked: {ended}"), false)),
            Err(_) => Err(self.error(what, name, "the request ended without a response", true)),
        }
    }

    /// Returns the error of an operation on an object.
    pub fn error(&self, what: &str, name: &str, reason: impl Into<String>, transient: bool) -> StoreError {
        let kind = StoreErrorKind::of_transient(transient);
        let object_url = format!("{}/{name}", self.url);
        StoreError { what: format!("{what} {}", object_url.trim_end_matches('/')), reason: reason.into(), kind }
    }

    fn failed(&self, what: &str, name: &str, error: &ClientError) -> StoreError {
        let mut reason = error_response::describe(error);
        if no_bucket(error) || (self.cloud == Cloud::Hdfs && matches!(error, ClientError::NotFound { .. })) {
            reason.push_str(&format!("; {}", self.cloud.missing_hint()));
        } else if matches!(error, ClientError::AlreadyExists { .. }) {
            reason.push_str("; nothing is overwritten: is another job writing here?");
        } else if error_response::denied(error) {
            let credentials = self.cloud.credentials();
            reason.push_str(&format!("; check {credentials} and their permissions for this path"));
        } else if reason.contains(cloud::MACHINE_IDENTITY) {
            reason.push_str(&format!(
                "; no credentials are configured, and the instance metadata service gave none; set {}",
                self.cloud.credentials()
            ));
        }
        self.error(what, name, reason, error_response::is_transient(error))
    }
}

/// Requests in progress.
pub struct Requests<T>(mpsc::Receiver<Result<Result<T, ClientError>, tokio::task::JoinError>>);

impl Drop for Bucket {
    fn drop(&mut self) {
        // The default drop blocks, which a thread of another runtime must not do.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Whether a name can be that of an object below a prefix. Names are read from files and servers, so they are not trusted.
fn is_name(name: &str) -> bool {
    !name.split('/').any(|part| matches!(part, "" | "." | "..") || part.contains('\0'))
}
