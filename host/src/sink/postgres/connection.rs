//! A connection to a PostgreSQL server, and what goes wrong with one.

use super::rows::Unfit;
use std::error::Error as _;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config, NoTls};

const CONNECT_TIMEOUT_MS: u64 = 10_000;
/// A server that answers nothing for so long is taken for lost.
const SILENT_TIMEOUT_MS: u64 = 30_000;

/// What went wrong, for a person to read.
#[derive(Debug)]
pub(crate) struct Fault {
    /// It may go away by itself: the server is away, or has no room.
    pub passing: bool,
    pub message: String,
}

impl Fault {
    /// Something that does not go away by itself.
    pub fn lasting(message: String) -> Fault {
        Fault { passing: false, message }
    }

    /// What the driver says. Without a code it is about the connection, unless a value was refused before it was sent.
    pub fn of(error: &tokio_postgres::Error) -> Fault {
        if let Some(db) = error.as_db_error() {
            let code = db.code().code();
            // Classes and codes of PostgreSQL's appendix A: lost connections, too few resources, a server that stops or
            // starts or only lets read, deadlocks, and failures of its disk.
            let passing = ["08", "53", "58"].iter().any(|class| code.starts_with(class))
                || ["57P01", "57P02", "57P03", "57P05", "25006", "40001", "40P01"].contains(&code);
            let detail = db.detail().map(|detail| format!(" ({detail})")).unwrap_or_default();
            return Fault { passing, message: format!("PostgreSQL says: {}{detail} [{code}]", db.message()) };
        }
        let cause = error.source();
        if let Some(unfit) = cause.and_then(|cause| cause.downcast_ref::<Unfit>()) {
            return Fault::lasting(unfit.to_string());
        }
        let passing = error.is_closed() || cause.is_none_or(|cause| cause.is::<std::io::Error>());
        let message = cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
        Fault { passing, message }
    }
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Fault {
        Fault::of(&error)
    }
}

/// What moves the bytes of a connection; it ends when the client is dropped and the server was told.
pub(crate) type Driver = JoinHandle<()>;

/// Where a database is, and how it is reached.
pub(crate) struct Connection(Config);

impl Connection {
    /// With limits on how long it waits, where the URL has none.
    pub fn new(mut config: Config) -> Connection {
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(Duration::from_millis(CONNECT_TIMEOUT_MS));
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(Duration::from_millis(SILENT_TIMEOUT_MS));
        }
        if config.get_application_name().is_none() {
            config.application_name("millstream");
        }
        Connection(config)
    }

    /// Host, port and database, without user and password.
    pub fn place(&self) -> String {
        let host = match self.0.get_hosts().first() {
            Some(Host::Tcp(host)) => host.clone(),
            #[cfg(unix)]
            Some(Host::Unix(path)) => path.display().to_string(),
            None => String::new(),
        };
        let port = self.0.get_ports().first().unwrap_or(&5432);
        let database = self.0.get_dbname().or(self.0.get_user()).unwrap_or_default();
        format!("database `{database}` at {host}:{port}")
    }

    /// A new connection. What drives it runs on the runtime whenever somebody waits there.
    pub async fn connect(&self) -> Result<(Client, Driver), Fault> {
        let (client, connection) = self.0.connect(NoTls).await?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!("a connection to PostgreSQL ended: {error}");
            }
        });
        Ok((client, driver))
    }
}
