//! The servers of a list. Each is a partition of the source, named by its address as in the job file. It is read by the process that owns the key
//! group of its name. All processes have the same list, so none has to query it.

use super::Server;
use millstream_base::fault;
use millstream_connect::receiver::polled::BusyFlag;
use millstream_job::spec::{Origin, SourceSpec};
use millstream_rows::batch::partition::{CLOCK_PREFIX, Share, rows_name};
use millstream_rows::batch::position::Positions;
use millstream_rows::inbox::Inbox;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// How often to check whether all rows of earlier runs are in batches.
const LEFTOVER_CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// The servers that this process reads.
pub struct Servers {
    dir: PathBuf,
    read: Vec<Server>,
    /// Number of servers that probably have something to read.
    busy: Arc<AtomicUsize>,
    /// Servers of earlier runs that were removed from the list; only in the process that announces partitions.
    removed: Vec<String>,
}

impl Servers {
    /// Creates the servers of this share, which resume at these positions. All of them are announced to the stages before the first batch of this
    /// run. So the watermark also waits for servers whose rows arrive late.
    pub fn new(
        source: &SourceSpec,
        addresses: &[String],
        origin: &Origin,
        from: &Positions,
        share: Share,
        inbox: &Inbox,
    ) -> Servers {
        // Values of variables are not stored, and a different value does not make another server.
        let key = format!("sources.{}.address", source.name);
        let name = |address: &String| origin.written.at_value(&key, address).unwrap_or(address).to_owned();
        let named: Vec<(String, &String)> = addresses.iter().map(|address| (name(address), address)).collect();
        let busy = Arc::new(AtomicUsize::default());
        let own = named.iter().filter(|(name, _)| share.owns(&rows_name(name)));
        let server =
            |(name, address): &(String, &String)| Server::named(source, address, name, from, BusyFlag::new(&busy));
        let read = own.map(server).collect();
        let mut removed = Vec::new();
        inbox.group_by_partition();
        if share.reports_clocks() {
            inbox.report_listed_partitions(named.iter().map(|(name, _)| name.as_str()));
            let announced = from.keys().filter_map(|position| position.strip_prefix(CLOCK_PREFIX));
            let is_listed =
                |name_before: &str| name_before.is_empty() || named.iter().any(|(name, _)| name == name_before);
            removed = announced.filter(|name_before| !is_listed(name_before)).map(str::to_owned).collect();
        }
        Servers { dir: origin.dir.clone(), read, busy, removed }
    }

    /// Reads from all servers indefinitely.
    pub async fn receive(self, inbox: &Arc<Inbox>) {
        let Servers { dir, read, busy, removed } = self;
        let mut reading = JoinSet::new();
        for server in read {
            let (dir, inbox) = (dir.clone(), inbox.clone());
            reading.spawn(async move {
                fault::thread("socket-server");
                server.receive(&dir, &inbox).await;
            });
        }
        let announce_removed = async {
            announce_removed(&removed, inbox).await;
            // If this process reads no server, nothing else reports that the source is idle.
            inbox.idle(busy.load(Ordering::Acquire) == 0);
        };
        let watch = async {
            while let Some(ended) = reading.join_next().await {
                if let Err(error) = ended
                    && let Ok(panic) = error.try_into_panic()
                {
                    std::panic::resume_unwind(panic);
                }
            }
        };
        tokio::join!(announce_removed, watch);
    }
}

/// Announces to the stages that these servers were removed, once all rows received in earlier runs are in batches.
async fn announce_removed(removed: &[String], inbox: &Inbox) {
    if removed.is_empty() {
        return;
    }
    while !inbox.may_begin() || inbox.state().leftover {
        sleep(LEFTOVER_CHECK_INTERVAL).await;
    }
    inbox.report_partitions(&[], removed);
    // Results may have waited for this, and no further rows need arrive.
    inbox.begin_batch();
}
