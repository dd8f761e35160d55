//! The servers of a list: each is a partition of the source, by its address as the job file has it, and is read by the process whose
//! key groups its name lies in. Nobody is asked which there are: all processes have the same list.

use super::Server;
use crate::receiver::polled::BusyFlag;
use millstream_base::batch::partition::{CLOCK_PREFIX, Share, rows_name};
use millstream_base::batch::position::Positions;
use millstream_base::fault;
use millstream_base::inbox::Inbox;
use millstream_base::job::spec::{Origin, SourceSpec};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// How often it is looked whether batches have the rows of earlier starts.
const HEARD_EVERY: Duration = Duration::from_millis(100);

/// The servers of a source that are read here.
pub struct Servers {
    folder: PathBuf,
    read: Vec<Server>,
    /// How many have something to read, as far as is known.
    busy: Arc<AtomicUsize>,
    /// Those that earlier starts had and the list has not any more, in the process that tells which there are.
    gone: Vec<String>,
}

impl Servers {
    /// Those of this share, which go on from these positions. Stages hear of all before the first batch that is not of an earlier start, so
    /// that none is left out whose rows come later than those of others.
    pub fn begin(
        source: &SourceSpec,
        addresses: &[String],
        origin: &Origin,
        from: &Positions,
        share: Share,
        inbox: &Inbox,
    ) -> Servers {
        // Values of variables are kept nowhere, and another value is no other server.
        let key = format!("sources.{}.address", source.name);
        let name = |address: &String| origin.written.at_value(&key, address).unwrap_or(address).to_owned();
        let named: Vec<(String, &String)> = addresses.iter().map(|address| (name(address), address)).collect();
        let busy = Arc::new(AtomicUsize::default());
        let own = named.iter().filter(|(name, _)| share.owns(&rows_name(name)));
        let server =
            |(name, address): &(String, &String)| Server::named(source, address, name, from, BusyFlag::new(&busy));
        let read = own.map(server).collect();
        let mut gone = Vec::new();
        inbox.gathers_partitions();
        if share.tells_clocks() {
            inbox.tell_partitions_first(named.iter().map(|(name, _)| name.as_str()));
            let told = from.keys().filter_map(|position| position.strip_prefix(CLOCK_PREFIX));
            let is_there = |known: &str| known.is_empty() || named.iter().any(|(name, _)| name == known);
            gone = told.filter(|known| !is_there(known)).map(str::to_owned).collect();
        }
        Servers { folder: origin.folder.clone(), read, busy, gone }
    }

    /// Reads all of them, for ever.
    pub async fn receive(self, inbox: &Arc<Inbox>) {
        let Servers { folder, read, busy, gone } = self;
        let mut reading = JoinSet::new();
        for server in read {
            let (folder, inbox) = (folder.clone(), inbox.clone());
            reading.spawn(async move {
                fault::thread("socket-server");
                server.receive(&folder, &inbox).await;
            });
        }
        let forget = async {
            forget(&gone, inbox).await;
            // Where none is read here, nobody else would say that there is nothing to read.
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
        tokio::join!(forget, watch);
    }
}

/// Stages hear that these do not count any more, as soon as batches have what an earlier start received of them.
async fn forget(gone: &[String], inbox: &Inbox) {
    if gone.is_empty() {
        return;
    }
    while !inbox.may_begin() || inbox.state().leftover {
        sleep(HEARD_EVERY).await;
    }
    inbox.tell_partitions(&[], gone);
    // Results may have waited for it, and no more rows need come.
    inbox.begin_batch();
}
