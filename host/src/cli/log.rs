//! The log: lines on standard error, for people or as JSON, and the last of them kept for whoever looks at the page.

use super::output::LogOutput;
use millstream_base::log_lines;
use millstream_base::shown;
use millstream_base::time;
use std::fmt;
use std::io::{self, Write};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt as lines};

/// Chooses what is logged.
const LEVEL: &str = "MILLSTREAM_LOG";
/// How: `json`, or as for people.
const FORMAT: &str = "MILLSTREAM_LOG_FORMAT";

/// From now on what is logged is written, and kept. Whether people read it, and want to hear what happens.
pub fn start() -> bool {
    let filter = EnvFilter::try_from_env(LEVEL).unwrap_or_else(|_| "info,object_store=warn".into());
    let json = std::env::var(FORMAT).is_ok_and(|format| format == "json");
    let for_people = lines::layer()
        .fmt_fields(debug_fn(write_field).delimited(" "))
        .with_writer(|| LogOutput)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
        .with_target(false);
    tracing_subscriber::registry().with(filter).with((!json).then_some(for_people)).with(LogRecorder { json }).init();
    !json && LevelFilter::current() >= LevelFilter::INFO
}

/// Writes the words of a log line, or a fact beside them, which may hold anything that came from outside.
fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let words = shown::message(&format!("{value:?}"));
    match field.name() {
        "message" => writer.write_str(&words),
        name => write!(writer, "{name}={words}"),
    }
}

/// Keeps lines for the page, and writes them as JSON where that is asked for.
struct LogRecorder {
    json: bool,
}

impl<S: Subscriber> Layer<S> for LogRecorder {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut words = Words::default();
        event.record(&mut words);
        let (at_us, level) = (time::now().0, event.metadata().level().as_str());
        let text = shown::message(&words.0);
        if self.json {
            let line = serde_json::json!({ "time_us": at_us, "level": level, "message": text });
            let _ = writeln!(LogOutput, "{line}");
        }
        log_lines::add(at_us, level, text);
    }
}

/// The words of a line, and the facts beside them.
#[derive(Default)]
struct Words(String);

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        use fmt::Write as _;
        let gap = if self.0.is_empty() { "" } else { " " };
        // Writing to a text does not fail.
        let _ = match field.name() {
            "message" => write!(self.0, "{gap}{value:?}"),
            name => write!(self.0, "{gap}{name}={value:?}"),
        };
    }
}
