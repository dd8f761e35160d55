//! Receivers with the sources that use them.

mod positions;

use crate::files::source::settings::{DirectoryReads, FileReads, WatchTimes};
use crate::queue::QueueReads;
use crate::rate::RateReads;
use crate::socket::settings::SocketReads;
use millstream_base::error::Kind;
use millstream_base::retry::StartupRetry;
use millstream_connect::receiver::*;
use millstream_job::spec::JobFacts;
use millstream_job::spec::{Origin, SourceKind, SourceSpec, SourceStart};
use millstream_rows::batch::chunk::Chunk;
use millstream_rows::batch::column::ColumnSpec;
use millstream_rows::batch::partition::Share;
use millstream_rows::batch::position::Positions;
use millstream_rows::batch::types::ColumnType;
use millstream_rows::formats::Format;
use millstream_rows::inbox::Inbox;
use millstream_rows::inbox::{InboxState, TakeLimits};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(20);

pub fn source(kind: SourceKind, format: Format) -> SourceSpec {
    SourceSpec {
        schema: Vec::new(),
        rows_per_batch_max: 1 << 20,
        bytes_per_batch_max: 1 << 30,
        record_bytes_max: 1 << 20,
        ..SourceSpec::new("lines", kind, format)
    }
}

/// A running source whose inbox can be waited for.
pub struct StartedSource {
    pub inbox: Arc<Inbox>,
    woken: Arc<Notify>,
}

fn begin(source: &SourceSpec, dir: &Path) -> StartedSource {
    begin_from(source, dir, &Positions::new())
}

pub fn begin_from(source: &SourceSpec, dir: &Path, from: &Positions) -> StartedSource {
    let woken = Arc::new(Notify::new());
    let waker = woken.clone();
    let inbox = Arc::new(Inbox::new(millstream_base::limits::INBOX_BYTES_MAX, Box::new(move || waker.notify_one())));
    let origin = Origin { dir: dir.into(), ..Origin::default() };
    let job = JobFacts { owner: None, servers: StartupRetry::No, processes: 1 };
    let (origin, runtime) = (&origin, &Handle::current());
    start(SourceStart { source, origin, inbox: inbox.clone(), runtime, from, share: Share::ALL, job })
        .expect("it starts");
    StartedSource { inbox, woken }
}

impl StartedSource {
    /// Waits until the state matches.
    pub async fn until(&self, what: &str, wanted: impl Fn(&InboxState) -> bool) -> InboxState {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let state = self.inbox.state();
            if wanted(&state) {
                return state;
            }
            assert!(Instant::now() < deadline, "waiting for {what}: {state:?}");
            // Becoming idle wakes no waiter, so the state is polled.
            let _ = timeout(Duration::from_millis(5), self.woken.notified()).await;
        }
    }

    async fn take(&self) -> Vec<Chunk> {
        self.until("rows", |state| state.ready).await;
        self.inbox.take(millstream_base::ids::BatchId(1), TakeLimits::new(u64::MAX, u64::MAX)).chunks
    }

    /// Takes this many records, each as text.
    async fn records(&self, count: usize) -> Vec<String> {
        let mut records = Vec::new();
        while records.len() < count {
            for chunk in self.take().await {
                records.extend((0..chunk.rows()).map(|row| String::from_utf8_lossy(chunk.record(row)).into_owned()));
            }
        }
        records
    }
}

impl Drop for StartedSource {
    fn drop(&mut self) {
        self.inbox.close();
    }
}

/// Captures the log.
#[derive(Clone, Default)]
struct CapturedLog(Arc<std::sync::Mutex<Vec<u8>>>);

impl CapturedLog {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for CapturedLog {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl tracing_subscriber::fmt::MakeWriter<'_> for CapturedLog {
    type Writer = CapturedLog;

    fn make_writer(&self) -> CapturedLog {
        self.clone()
    }
}

async fn accept(listener: &TcpListener) -> TcpStream {
    timeout(DEADLINE, listener.accept()).await.expect("no connection in time").unwrap().0
}

#[tokio::test]
async fn a_socket_is_read_and_connected_again() {
    // At first the connection is refused.
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let log = CapturedLog::default();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).without_time().with_target(false);
    let _logging = tracing::subscriber::set_default(subscriber.with_writer(log.clone()).finish());
    // With only one subscriber, a log statement is disabled for all threads if a test without a subscriber reaches it first.
    let _second = tracing::dispatcher::Dispatch::new(tracing_subscriber::fmt().with_writer(std::io::sink).finish());
    let started = begin(
        &source(SourceKind::Declared(Arc::new(SocketReads::lines(address.to_string()))), Format::Text),
        Path::new("."),
    );
    started.until("the first attempt", |_| !log.text().is_empty()).await;
    let listener = TcpListener::bind(address).await.unwrap();
    let mut peer = accept(&listener).await;
    started.until("idleness", |state| state.idle_ms > 0).await;
    peer.write_all(b"one\ntw").await.unwrap();
    assert_eq!(started.records(1).await, ["one\n"]);
    peer.write_all(b"o\nlast").await.unwrap();
    drop(peer);
    assert_eq!(started.records(2).await, ["two\n", "last"]);
    let mut peer = accept(&listener).await;
    peer.write_all(b"again\n").await.unwrap();
    assert_eq!(started.records(1).await, ["again\n"]);
    let state = started.inbox.state();
    assert!(!state.finished && state.failed.is_none());
    let hint = format!("start a server with `nc -lk {}`", address.port());
    let expected = [
        format!(" WARN source `lines`: cannot connect to {address} (connection refused); retrying; {hint}"),
        format!(" INFO source `lines`: connected to {address}"),
        format!(" INFO source `lines`: connection to {address} closed by the peer; reconnecting"),
        format!(" INFO source `lines`: connected to {address}"),
    ];
    assert_eq!(log.text().lines().collect::<Vec<_>>(), expected, "each change is told once");
    started.inbox.close();
    // The receiver ends and closes its connection.
    assert!(timeout(DEADLINE, peer.readable()).await.is_ok());
}

#[tokio::test]
async fn a_raw_socket_reads_frames() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let started =
        begin(&source(SourceKind::Declared(Arc::new(SocketReads::frames(address))), Format::Text), Path::new("."));
    let mut peer = accept(&listener).await;
    peer.write_all(b"\0\0\0\x02a\n\0\0\0\0\0\0\0\x09cut").await.unwrap();
    drop(peer);
    let chunks = {
        let mut chunks = Vec::new();
        while chunks.iter().map(Chunk::rows).sum::<usize>() < 3 {
            chunks.extend(started.take().await);
        }
        chunks
    };
    let last = chunks.last().unwrap();
    assert_eq!(last.record(last.rows() - 1), b"\0\0\0\x09cut");
    assert_eq!(last.rejected.last().unwrap().reason, "cut short: 3 of the 9 bytes of a frame");
}

fn put(dir: &Path, name: &str, text: &str) {
    std::fs::write(dir.join(".writing"), text).unwrap();
    std::fs::rename(dir.join(".writing"), dir.join(name)).unwrap();
}

#[tokio::test]
async fn a_dir_is_read_file_by_file_and_each_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    for (name, text) in
        [("b", "2\n"), ("a", "1"), (".hidden", "x\n"), ("_SUCCESS", "x\n"), ("c.tmp", "x\n"), ("d~", "x\n")]
    {
        put(path, name, text);
    }
    let old = std::time::SystemTime::now() - Duration::from_secs(60);
    for (name, age) in [("b", 1), ("a", 1)] {
        let file = std::fs::File::options().append(true).open(path.join(name)).unwrap();
        file.set_modified(old + Duration::from_secs(age)).unwrap();
    }
    std::fs::create_dir(path.join("sub")).unwrap();
    let kind = SourceKind::Declared(Arc::new(DirectoryReads {
        times: WatchTimes { poll: Duration::from_millis(2), settle: Duration::ZERO },
        ..DirectoryReads::new(path)
    }));
    let source = SourceSpec { away_max: Duration::ZERO, ..source(kind, Format::Text) };
    let started = begin(&source, Path::new("/"));
    assert_eq!(started.records(2).await, ["1", "2\n"]);
    started.until("idleness", |state| state.idle_ms > 0).await;
    put(path, "a", "another file of the same name\n");
    assert_eq!(started.records(1).await, ["another file of the same name\n"]);
    std::fs::rename(path.join("c.tmp"), path.join("c")).unwrap();
    assert_eq!(started.records(1).await, ["x\n"]);
    std::fs::remove_dir_all(path).unwrap();
    let failed = started.until("failure", |state| state.failed.is_some()).await.failed.unwrap();
    assert_eq!(failed.kind, Kind::Environment);
    let expected = format!("source `lines`: cannot read `{}`: no such file or directory", path.display());
    assert_eq!(failed.message, expected);
}

#[tokio::test]
async fn a_file_is_read_to_its_end_in_bounded_memory() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let line = format!("{}\n", "x".repeat(49));
    let rows = 40 << 20 >> 5;
    file.write_all(line.repeat(rows).as_bytes()).unwrap();
    let started = begin(
        &source(SourceKind::Declared(Arc::new(FileReads { path: file.path().into() })), Format::Text),
        Path::new("/"),
    );
    let mut seen = 0;
    while seen < rows {
        let held_bytes = started.until("rows", |state| state.ready).await.rows * line.len() as u64;
        let bound = millstream_base::limits::INBOX_BYTES_MAX + millstream_base::limits::PART_BYTES_MAX as u64;
        assert!(held_bytes <= bound, "{held_bytes} bytes wait");
        for chunk in started.take().await {
            assert!(chunk.record(0).len() == line.len() && chunk.rejected.is_empty());
            seen += chunk.rows();
        }
    }
    assert_eq!(seen, rows);
    started.until("the end", |state| state.finished && !state.ready && state.failed.is_none()).await;
}

#[tokio::test]
async fn a_rate_source_makes_its_rows_in_time() {
    let kind = SourceKind::Declared(Arc::new(RateReads { rows_per_second: 20_000, rows_max: Some(3_000) }));
    let begun = Instant::now();
    let started = begin(&source(kind, Format::Binary { record_bytes: None }), Path::new("."));
    started.until("the end", |state| state.finished).await;
    assert!(begun.elapsed() >= Duration::from_millis(149), "{:?}", begun.elapsed());
    let chunks = started.take().await;
    assert_eq!(chunks.len(), 1, "single ticks are joined");
    let records: Vec<[i64; 2]> = (0..chunks[0].rows())
        .map(|row| {
            let (time, value) = chunks[0].record(row).split_at(8);
            [time, value].map(|bytes| i64::from_le_bytes(bytes.try_into().unwrap()))
        })
        .collect();
    let expected: Vec<[i64; 2]> = (0..3_000).map(|i| [records[0][0] + i * 50, i]).collect();
    assert_eq!(records, expected);
}

#[tokio::test]
async fn a_queue_line_is_a_batch() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("q"), "[1, {\"a\":2}]\n\n[]\n[3]\nnonsense\n").unwrap();
    let started =
        begin(&source(SourceKind::Declared(Arc::new(QueueReads { path: "q".into() })), Format::Json), dir.path());
    let failed = started.until("failure", |state| state.failed.is_some()).await.failed.unwrap();
    let expected = format!("source `lines`: {}/q:5: not a JSON array; expected one JSON array", dir.path().display());
    assert!(failed.message.starts_with(&expected), "{failed}");
    let batches: Vec<Vec<String>> = (0..3)
        .map(|_| {
            let chunks = started.inbox.take(millstream_base::ids::BatchId(1), TakeLimits::new(100, u64::MAX)).chunks;
            let rows = chunks.iter().flat_map(|chunk| (0..chunk.rows()).map(|row| chunk.record(row)));
            rows.map(|row| String::from_utf8_lossy(row).into_owned()).collect()
        })
        .collect();
    assert_eq!(batches, [vec!["1", "{\"a\":2}"], vec![], vec!["3"]]);
    assert!(!started.inbox.state().ready);
}

#[test]
fn what_is_missing_is_told_before_anything_runs() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().display();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let lines = [("sources.lines.path".to_string(), 7), ("sources.lines".to_string(), 5)].into();
    let origin = Origin { file: Some("job.toml".into()), dir: dir.path().into(), lines, ..Origin::default() };
    let check = |kind, format| {
        let mut source = source(kind, format);
        source.schema.push(ColumnSpec::new("n", ColumnType::Int64));
        check(&source, &origin).map_err(|error| (error.kind, error.message))
    };
    let job = |message: String| Err((Kind::Job, message));
    let file = |path: &str| SourceKind::Declared(Arc::new(FileReads { path: path.into() }));
    let directory = |path: &str| SourceKind::Declared(Arc::new(DirectoryReads::new(path)));
    assert_eq!(check(file("file"), Format::Text), Ok(()));
    assert_eq!(check(directory(""), Format::Text), Ok(()));
    let missing = format!(
        "job.toml:7: source `lines`: path `{at}/none`: no such file or directory; relative paths start from `{at}`"
    );
    assert_eq!(check(file("none"), Format::Text), job(missing));
    let dir_given = format!(
        "job.toml:7: source `lines`: path `{at}/.` is a directory, not a file; use kind = \"directory\" for a \
        directory"
    );
    assert_eq!(check(file("."), Format::Text), job(dir_given));
    let file_given = format!(
        "job.toml:7: source `lines`: path `{at}/file` is a file, not a directory; use kind = \"file\" for a \
                file"
    );
    assert_eq!(check(directory("file"), Format::Text), job(file_given));
    let socket = |address: &str| SourceKind::Declared(Arc::new(SocketReads::lines(address)));
    assert_eq!(check(socket("localhost:9999"), Format::Text), Ok(()));
    for address in ["localhost", ":99", "localhost:99999", "localhost:0"] {
        let message = format!(
            "job.toml:5: source `lines`: address `{address}` is not host:port; write, for example, address = \"127.0.0.1:9999\""
        );
        assert_eq!(check(socket(address), Format::Text), job(message));
    }
    let short = "job.toml:5: source `lines`: record_bytes is 4, but the columns of schema take 8 bytes";
    assert_eq!(check(file("file"), Format::Binary { record_bytes: Some(4) }), job(short.into()));
    let rate = SourceKind::Declared(Arc::new(RateReads { rows_per_second: 0, rows_max: None }));
    assert_eq!(check(rate, Format::Text), job("job.toml:5: source `lines`: rows_per_second must be at least 1".into()));
}

/// Closes a connection so that the peer sees a reset.
fn reset(stream: TcpStream) {
    use std::os::fd::AsRawFd;
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: the option has the stated length, and lives through the call.
    let set = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as libc::socklen_t,
        )
    };
    assert_eq!(set, 0);
}

#[tokio::test]
async fn a_reset_in_the_middle_of_a_line_makes_no_row_of_its_half_and_a_close_does() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let started = begin(
        &source(SourceKind::Declared(Arc::new(SocketReads::lines(address.to_string()))), Format::Text),
        Path::new("."),
    );
    let mut peer = accept(&listener).await;
    peer.write_all(b"whole\nhalf").await.unwrap();
    started.until("the line", |state| state.rows == 1).await;
    started.until("it waits", |state| state.idle_ms > 0).await;
    reset(peer);
    started.until("the half", |state| state.rows == 2).await;
    let mut peer = accept(&listener).await;
    peer.write_all(b"closed").await.unwrap();
    drop(peer);
    started.until("the last line", |state| state.rows == 3).await;
    let chunks = started.take().await;
    let rejected: Vec<&str> =
        chunks.iter().flat_map(|chunk| &chunk.rejected).map(|rejection| &*rejection.reason).collect();
    assert_eq!(rejected.len(), 1, "{rejected:?}");
    assert!(rejected[0].starts_with("cut short after 4 bytes: the connection broke ("), "{rejected:?}");
}
