//! The supported object stores, and their environment variables.

use super::error_response;
#[cfg(feature = "hdfs")]
use super::hdfs::Hdfs;
use millstream_base::error::Error;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::list::PaginatedListStore;
use object_store::{ClientConfigKey, Error as ClientError, ObjectStore, RetryConfig};
use std::str::FromStr;
use std::sync::Arc;
use tokio::runtime::Handle;

/// The metadata service from which machines in a cloud get credentials.
pub const MACHINE_IDENTITY: &str = "169.254.169.254";

/// Sends requests to one bucket.
pub trait Client: ObjectStore + PaginatedListStore {}
impl<T: ObjectStore + PaginatedListStore> Client for T {}

/// The provider of an object store, or of its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cloud {
    /// S3, and servers that support its protocol.
    S3,
    /// Google Cloud Storage.
    Google,
    /// Azure Blob Storage.
    Azure,
    /// Hadoop file systems: the name node or name service takes the role of the bucket.
    Hdfs,
}

/// Why there is no client.
pub enum CloudSetupError {
    /// A user has to change a setting.
    Job(Error),
    /// The library cannot create it.
    Client(ClientError),
}

impl CloudSetupError {
    /// Returns the error for the client of this URL.
    pub fn into_error(self, what: &str) -> Error {
        match self {
            CloudSetupError::Job(error) => error,
            CloudSetupError::Client(error) => {
                Error::environment(format!("cannot use {what}: {}", error_response::describe(&error)))
            }
        }
    }
}

impl Cloud {
    const ALL: [Cloud; 4] = [Cloud::S3, Cloud::Google, Cloud::Azure, Cloud::Hdfs];

    /// Returns the cloud of a URL, and the rest after its scheme.
    pub fn from_url(url: &str) -> Option<(Cloud, &str)> {
        Cloud::ALL.into_iter().find_map(|cloud| Some((cloud, url.strip_prefix(cloud.scheme())?)))
    }

    /// Returns the scheme of its URLs.
    pub fn scheme(self) -> &'static str {
        match self {
            Cloud::S3 => "s3://",
            Cloud::Google => "gs://",
            Cloud::Azure => "az://",
            Cloud::Hdfs => "hdfs://",
        }
    }

    /// Returns the environment variables with credentials.
    pub fn credentials(self) -> &'static str {
        match self {
            Cloud::S3 => "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY",
            Cloud::Google => "GOOGLE_SERVICE_ACCOUNT (the path of a key file)",
            Cloud::Azure => "AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ACCOUNT_KEY",
            Cloud::Hdfs => "HADOOP_USER_NAME (if the cluster uses Kerberos: the ticket that `klist` shows)",
        }
    }

    /// Whether an object is renamed atomically without replacing another one. Elsewhere it is copied.
    pub fn renames(self) -> bool {
        self == Cloud::Hdfs
    }

    /// Returns what to do if an object is missing.
    pub fn missing_hint(self) -> &'static str {
        match self {
            Cloud::Hdfs => "create the directory first, or write another path",
            _ => "create the bucket first",
        }
    }

    /// Whether a string can be a bucket. It becomes part of a host name or of a path, so strings that could lead to another server are invalid.
    pub fn is_bucket(self, name: &str) -> bool {
        let (name, port) = match name.split_once(':') {
            Some((name, port)) if self == Cloud::Hdfs => (name, port),
            _ => (name, "1"),
        };
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        let is_name = (1..=255).contains(&name.len()) && name.bytes().all(fits);
        is_name
            && !name.starts_with(['.', '-'])
            && !name.contains("..")
            && port.parse::<u16>().is_ok_and(|port| port > 0)
    }

    /// Returns a client for a bucket.
    pub fn client(
        self,
        bucket: &str,
        settings: &[(String, String)],
        retry: RetryConfig,
        handle: &Handle,
    ) -> Result<Arc<dyn Client>, CloudSetupError> {
        Ok(match self {
            Cloud::S3 => {
                let builder = amazon(settings);
                let value = |key| builder.get_config_value(&key);
                let endpoints = [value(AmazonS3ConfigKey::S3Endpoint), value(AmazonS3ConfigKey::Endpoint)];
                check_http("AWS_ALLOW_HTTP", endpoints, value(AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp)))?;
                Arc::new(builder.with_bucket_name(bucket).with_retry(retry).build().map_err(CloudSetupError::Client)?)
            }
            Cloud::Google => {
                let with = |builder: GoogleCloudStorageBuilder, (key, value)| builder.with_config(key, value);
                let builder = keys("GOOGLE_", settings).fold(GoogleCloudStorageBuilder::new(), with);
                let allowed = settings.iter().find(|(name, _)| name == "GOOGLE_ALLOW_HTTP");
                let endpoint = builder.get_config_value(&GoogleConfigKey::BaseUrl);
                check_http("GOOGLE_ALLOW_HTTP", [endpoint], allowed.map(|(_, value)| value.clone()))?;
                Arc::new(builder.with_bucket_name(bucket).with_retry(retry).build().map_err(CloudSetupError::Client)?)
            }
            Cloud::Azure => {
                let with = |builder: MicrosoftAzureBuilder, (key, value)| builder.with_config(key, value);
                let builder = keys("AZURE_", settings).fold(MicrosoftAzureBuilder::new(), with);
                let value = |key| builder.get_config_value(&key);
                let allowed = value(AzureConfigKey::Client(ClientConfigKey::AllowHttp));
                check_http("AZURE_ALLOW_HTTP", [value(AzureConfigKey::Endpoint)], allowed)?;
                Arc::new(
                    builder.with_container_name(bucket).with_retry(retry).build().map_err(CloudSetupError::Client)?,
                )
            }
            #[cfg(not(feature = "hdfs"))]
            Cloud::Hdfs => {
                let _ = handle;
                return Err(CloudSetupError::Client(super::hdfs::absent()));
            }
            #[cfg(feature = "hdfs")]
            Cloud::Hdfs => Arc::new(Hdfs::open(bucket, settings, handle.clone()).map_err(CloudSetupError::Client)?),
        })
    }
}

/// Configures Amazon credentials and endpoint from settings.
pub fn amazon(settings: &[(String, String)]) -> AmazonS3Builder {
    let with = |builder: AmazonS3Builder, (key, value)| builder.with_config(key, value);
    keys("AWS_", settings).fold(AmazonS3Builder::new(), with)
}

/// Checks that settings allow an Amazon endpoint without TLS.
pub fn check_amazon_http(endpoint: &str, settings: &[(String, String)]) -> Result<(), CloudSetupError> {
    let allowed = amazon(settings).get_config_value(&AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp));
    check_http("AWS_ALLOW_HTTP", [Some(endpoint.to_owned())], allowed)
}

/// Returns the settings with this prefix that the library knows.
fn keys<K: FromStr>(begin: &str, settings: &[(String, String)]) -> impl Iterator<Item = (K, String)> {
    let named = settings.iter().filter(move |(name, _)| name.starts_with(begin));
    named.filter_map(|(name, value)| Some((name.to_ascii_lowercase().parse().ok()?, value.clone())))
}

/// `http` must be allowed explicitly, because it exposes data to the network.
fn check_http(
    name: &str,
    endpoints: impl IntoIterator<Item = Option<String>>,
    allowed: Option<String>,
) -> Result<(), CloudSetupError> {
    let allowed = allowed.and_then(|allowed| allowed.parse().ok()).unwrap_or(false);
    match endpoints.into_iter().flatten().find(|endpoint| endpoint.starts_with("http://")) {
        Some(endpoint) if !allowed => Err(CloudSetupError::Job(Error::job(format!(
            "the endpoint {endpoint} is not https; set {name}=true in the environment to allow that"
        )))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Bucket;
    use super::*;

    fn open(url: &str, settings: &[(&str, &str)]) -> Result<String, String> {
        let settings: Vec<_> = settings.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let opened = Bucket::open(url, &settings, RetryConfig::default());
        opened.map(|bucket| bucket.url().to_owned()).map_err(|error| error.message)
    }

    #[test]
    fn each_cloud_has_its_scheme_and_settings() {
        let s3 = [("AWS_REGION", "eu-west-1"), ("GOOGLE_BASE_URL", "http://elsewhere")];
        assert_eq!(open("s3://bucket/a/b/", &s3), Ok("s3://bucket/a/b".into()));
        assert_eq!(open("gs://bucket", &[("GOOGLE_SKIP_SIGNATURE", "true")]), Ok("gs://bucket".into()));
        let azure = [("AZURE_STORAGE_ACCOUNT_NAME", "me"), ("AZURE_STORAGE_ACCOUNT_KEY", "a2V5")];
        assert_eq!(open("az://container/a", &azure), Ok("az://container/a".into()));
        assert!(open("az://container/a", &[]).unwrap_err().contains("cannot use az://container/a"), "no account");
        assert_eq!(open("hdfs://namenode:8020/a/", &[]), Ok("hdfs://namenode:8020/a".into()));
        assert_eq!(open("hdfs://127.0.0.1:9000", &[]), Ok("hdfs://127.0.0.1:9000".into()));
        for url in [
            "s3://",
            "s3:///x",
            "s3://a..b/x",
            "s3://a/b/../c",
            "s3://a//b",
            "s3://a:1/b",
            "hdfs://a:x/b",
            "hdfs:///b",
            "hdfs://a@b/c",
            "ftp://a/b",
            "bucket",
        ] {
            assert!(open(url, &s3).unwrap_err().contains(&format!("\"{url}\"")), "{url}");
        }
    }

    #[test]
    fn plain_http_has_to_be_allowed() {
        for (url, endpoint, allow) in [
            ("s3://b", "AWS_ENDPOINT_URL", "AWS_ALLOW_HTTP"),
            ("gs://b", "GOOGLE_BASE_URL", "GOOGLE_ALLOW_HTTP"),
            ("az://b", "AZURE_STORAGE_ENDPOINT", "AZURE_ALLOW_HTTP"),
        ] {
            let mut settings =
                vec![(endpoint, "http://127.0.0.1:1"), ("AZURE_STORAGE_ACCOUNT_NAME", "me"), ("AWS_REGION", "x")];
            settings.push(("GOOGLE_SKIP_SIGNATURE", "true"));
            let error = open(url, &settings).unwrap_err();
            assert!(error.contains(&format!("set {allow}=true")), "{error}");
            settings.push((allow, "true"));
            assert_eq!(open(url, &settings), Ok(url.into()));
        }
    }
}
