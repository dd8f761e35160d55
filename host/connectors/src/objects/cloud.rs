//! The object stores that there are, and how environment variables lead to them.

use super::answer;
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

/// Where machines in a cloud are told who they are.
pub const MACHINE_IDENTITY: &str = "169.254.169.254";

/// Sends requests to one bucket.
pub trait Client: ObjectStore + PaginatedListStore {}
impl<T: ObjectStore + PaginatedListStore> Client for T {}

/// Whose object store it is, or whose protocol it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cloud {
    /// S3, and servers that speak its protocol.
    S3,
    /// Google Cloud Storage.
    Google,
    /// Azure Blob Storage.
    Azure,
    /// The files of a Hadoop cluster: what is a bucket elsewhere is its name node, or its name service.
    Hdfs,
}

/// Why there is no client.
pub enum NoClient {
    /// Somebody has to say something else.
    Job(Error),
    /// The library does not make one.
    Client(ClientError),
}

impl NoClient {
    /// The error for the client of a place.
    pub fn within_place(self, place: &str) -> Error {
        match self {
            NoClient::Job(error) => error,
            NoClient::Client(error) => Error::environment(format!("cannot use {place}: {}", answer::told(&error))),
        }
    }
}

impl Cloud {
    const ALL: [Cloud; 4] = [Cloud::S3, Cloud::Google, Cloud::Azure, Cloud::Hdfs];

    /// The cloud of a URL, and what comes behind its scheme.
    pub fn of(url: &str) -> Option<(Cloud, &str)> {
        Cloud::ALL.into_iter().find_map(|cloud| Some((cloud, url.strip_prefix(cloud.scheme())?)))
    }

    /// How its URLs begin.
    pub fn scheme(self) -> &'static str {
        match self {
            Cloud::S3 => "s3://",
            Cloud::Google => "gs://",
            Cloud::Azure => "az://",
            Cloud::Hdfs => "hdfs://",
        }
    }

    /// The environment variables that say who asks.
    pub fn credentials(self) -> &'static str {
        match self {
            Cloud::S3 => "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY",
            Cloud::Google => "GOOGLE_SERVICE_ACCOUNT (the path of a key file)",
            Cloud::Azure => "AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ACCOUNT_KEY",
            Cloud::Hdfs => "HADOOP_USER_NAME (where the cluster uses Kerberos: the ticket that `klist` shows)",
        }
    }

    /// Whether an object gets another name by a rename, which never puts it in the place of another one. Elsewhere it is copied.
    pub fn renames(self) -> bool {
        self == Cloud::Hdfs
    }

    /// What to do where there is nothing at a place.
    pub fn missing(self) -> &'static str {
        match self {
            Cloud::Hdfs => "make the folder first, or write the path of another one",
            _ => "make the bucket first",
        }
    }

    /// Whether a text can be the first part of a place. It becomes part of a server's name or of a path; what could lead to
    /// another server is none.
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

    /// A client for a bucket.
    pub fn client(
        self,
        bucket: &str,
        settings: &[(String, String)],
        retry: RetryConfig,
        handle: &Handle,
    ) -> Result<Arc<dyn Client>, NoClient> {
        Ok(match self {
            Cloud::S3 => {
                let builder = amazon(settings);
                let value = |key| builder.get_config_value(&key);
                let endpoints = [value(AmazonS3ConfigKey::S3Endpoint), value(AmazonS3ConfigKey::Endpoint)];
                check_http("AWS_ALLOW_HTTP", endpoints, value(AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp)))?;
                Arc::new(builder.with_bucket_name(bucket).with_retry(retry).build().map_err(NoClient::Client)?)
            }
            Cloud::Google => {
                let with = |builder: GoogleCloudStorageBuilder, (key, value)| builder.with_config(key, value);
                let builder = keys("GOOGLE_", settings).fold(GoogleCloudStorageBuilder::new(), with);
                let allowed = settings.iter().find(|(name, _)| name == "GOOGLE_ALLOW_HTTP");
                let endpoint = builder.get_config_value(&GoogleConfigKey::BaseUrl);
                check_http("GOOGLE_ALLOW_HTTP", [endpoint], allowed.map(|(_, value)| value.clone()))?;
                Arc::new(builder.with_bucket_name(bucket).with_retry(retry).build().map_err(NoClient::Client)?)
            }
            Cloud::Azure => {
                let with = |builder: MicrosoftAzureBuilder, (key, value)| builder.with_config(key, value);
                let builder = keys("AZURE_", settings).fold(MicrosoftAzureBuilder::new(), with);
                let value = |key| builder.get_config_value(&key);
                let allowed = value(AzureConfigKey::Client(ClientConfigKey::AllowHttp));
                check_http("AZURE_ALLOW_HTTP", [value(AzureConfigKey::Endpoint)], allowed)?;
                Arc::new(builder.with_container_name(bucket).with_retry(retry).build().map_err(NoClient::Client)?)
            }
            #[cfg(not(feature = "hdfs"))]
            Cloud::Hdfs => {
                let _ = handle;
                return Err(NoClient::Client(super::hdfs::absent()));
            }
            #[cfg(feature = "hdfs")]
            Cloud::Hdfs => Arc::new(Hdfs::open(bucket, settings, handle.clone()).map_err(NoClient::Client)?),
        })
    }
}

/// Who asks Amazon and where, as settings say.
pub fn amazon(settings: &[(String, String)]) -> AmazonS3Builder {
    let with = |builder: AmazonS3Builder, (key, value)| builder.with_config(key, value);
    keys("AWS_", settings).fold(AmazonS3Builder::new(), with)
}

/// Whether settings allow an endpoint of Amazon, where it is not https.
pub fn check_amazon_http(endpoint: &str, settings: &[(String, String)]) -> Result<(), NoClient> {
    let allowed = amazon(settings).get_config_value(&AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp));
    check_http("AWS_ALLOW_HTTP", [Some(endpoint.to_owned())], allowed)
}

/// What settings whose names begin so say, where the library knows them.
fn keys<K: FromStr>(begin: &str, settings: &[(String, String)]) -> impl Iterator<Item = (K, String)> {
    let named = settings.iter().filter(move |(name, _)| name.starts_with(begin));
    named.filter_map(|(name, value)| Some((name.to_ascii_lowercase().parse().ok()?, value.clone())))
}

/// `http` has to be allowed, because it shows the data to the network.
fn check_http(
    name: &str,
    endpoints: impl IntoIterator<Item = Option<String>>,
    allowed: Option<String>,
) -> Result<(), NoClient> {
    let allowed = allowed.and_then(|allowed| allowed.parse().ok()).unwrap_or(false);
    match endpoints.into_iter().flatten().find(|endpoint| endpoint.starts_with("http://")) {
        Some(endpoint) if !allowed => Err(NoClient::Job(Error::job(format!(
            "the endpoint {endpoint} is not https; set {name}=true in the environment if that is meant"
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
        opened.map(|bucket| bucket.place().to_owned()).map_err(|error| error.message)
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
