//! The log: lines on standard error, for people or as JSON. The last lines are kept for the page.

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

/// The variable that selects what is logged.
const LEVEL: &str = "MILLSTREAM_LOG";
/// The variable that selects the format: `json`, or text for people by default.
const FORMAT: &str = "MILLSTREAM_LOG_FORMAT";

/// Starts writing and keeping log lines. Returns whether they are text for people that includes informational messages.
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

/// Writes the message of a log line, or one of its fields. Fields may contain any external data.
fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let text = shown::message(&format!("{value:?}"));
    match field.name() {
        "message" => writer.write_str(&text),
        name => write!(writer, "{name}={text}"),
    }
}

/// Keeps lines for the page, and writes them as JSON if configured.
struct LogRecorder {
    json: bool,
}

impl<S: Subscriber> Layer<S> for LogRecorder {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut text = LineText::default();
        event.record(&mut text);
        let (at_us, level) = (time::now().0, event.metadata().level().as_str());
        let text = shown::message(&text.0);
        if self.json {
            let line = serde_json::json!({ "time_us": at_us, "level": level, "message": text });
            let _ = writeln!(LogOutput, "{line}");
        }
        log_lines::add(at_us, level, text);
    }
}

/// The message of a line and its fields.
#[derive(Default)]
struct LineText(String);

impl Visit for LineText {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        use fmt::Write as _;
        let gap = if self.0.is_empty() { "" } else { " " };
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.0, "{gap}{value:?}"),
            name => write!(self.0, "{gap}{name}={value:?}"),
        };
    }
}
