//! Draws the screen: a summary of the job, its parts as a table, the details of one of them, or the help.

use super::details;
use super::ink::Ink;
use super::state::{Line, ScreenView, ViewState, rejects};
use crate::cli::inspect::text::size;
use crate::page::numbers::{count, grouped, percent, short, time};
use crate::page::part;
use crate::page::view::{JobState, Level};
use millstream_base::shown::harmless;
use millstream_base::terminal::truncate;
use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use ratatui_core::style::Style;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// From this number of lines on, the summary is shown in full.
const FULL_LINES_MIN: u16 = 18;
/// Maximum number of sentences below the parts.
const SENTENCES_MAX: usize = 4;
/// Maximum characters of a name: more than the width of any terminal.
const NAME_CHARS_MAX: usize = 300;
/// From this share of time on, the bottleneck is marked.
const BUSY: f64 = 0.25;

/// A column of the table: its heading, its width, and its rank. If there is not enough room, columns with the highest
/// ranks are omitted.
struct Column {
    head: &'static str,
    width: usize,
    rank: usize,
    cell: fn(&Line<'_>) -> String,
}

const NAME_COLUMNS_MIN: usize = 14;
const NAME_COLUMNS_PREFERRED: usize = 24;

/// The columns in the order of display, after the name.
static COLUMNS: [Column; 11] = [
    Column { head: "KIND", width: 10, rank: 6, cell: |line| harmless(&line.now.part.kind, 10) },
    Column { head: "ROWS/S", width: 7, rank: 0, cell: |line| short(line.now.counted.counts.rows_per_second) },
    Column { head: "WORK", width: 5, rank: 1, cell: |line| format!("{}%", percent(line.now.busy)) },
    Column {
        head: "INBOX",
        width: 5,
        rank: 4,
        cell: |line| line.now.fill().map_or(dash(), |fill| format!("{}%", percent(fill))),
    },
    Column { head: "LAG", width: 8, rank: 3, cell: lag },
    Column { head: "REJECTS", width: 7, rank: 2, cell: |line| nonzero_or_dash(rejects(&line.now), short) },
    Column { head: "GUEST", width: 6, rank: 5, cell: guest },
    Column {
        head: "CALLS/S",
        width: 7,
        rank: 7,
        cell: |line| if line.cost.has_plugin { short(line.cost.calls as u64) } else { dash() },
    },
    Column { head: "MEMORY", width: 10, rank: 8, cell: |line| nonzero_or_dash(line.cost.memory_bytes_max, size) },
    Column { head: "STATE", width: 10, rank: 9, cell: |line| nonzero_or_dash(line.now.facts.state_bytes, size) },
    Column { head: "ROWS", width: 14, rank: 10, cell: |line| grouped(line.now.counted.counts.rows) },
];

fn dash() -> String {
    "-".into()
}

fn nonzero_or_dash(number: u64, text: fn(u64) -> String) -> String {
    if number == 0 { dash() } else { text(number) }
}

fn lag(line: &Line<'_>) -> String {
    match (line.now.counted.behind, line.now.lag_us) {
        (Some(records), _) => short(records),
        (None, Some(us)) => time(us),
        (None, None) => dash(),
    }
}

/// It may exceed 100 %, as each worker has a core.
fn guest(line: &Line<'_>) -> String {
    if line.cost.has_plugin { format!("{}%", details::core_percent(line.cost.guest)) } else { dash() }
}

/// A position on the screen that moves from line to line.
struct Pen<'a> {
    buffer: &'a mut Buffer,
    area: Rect,
    y: u16,
}

impl Pen<'_> {
    /// Returns the number of remaining lines.
    fn room(&self) -> u16 {
        self.area.bottom().saturating_sub(self.y)
    }

    fn write(&mut self, text: &str, style: Style) {
        self.pieces(&[(text, style)]);
    }

    /// Writes a line of several pieces.
    fn pieces(&mut self, pieces: &[(&str, Style)]) {
        if self.room() == 0 {
            return;
        }
        let (mut x, end) = (self.area.x, self.area.right());
        for (text, style) in pieces {
            let room = end.saturating_sub(x);
            let text = truncate(text, room.into());
            x = self.buffer.set_stringn(x, self.y, text, room.into(), *style).0;
        }
        self.y += 1;
    }

    /// Writes a string on as many lines as needed, up to `lines_max`.
    fn write_wrapped(&mut self, text: &str, lines_max: usize, style: Style) {
        wrap(text, self.area.width.into(), lines_max).iter().for_each(|line| self.write(line, style));
    }
}

/// Draws the screen.
pub fn draw(view_state: &mut ViewState, ink: Ink, buffer: &mut Buffer, area: Rect) {
    let mut pen = Pen { buffer, area, y: area.y };
    head(view_state, ink, &mut pen);
    // The last line is for the keys.
    let keys = Rect { y: area.bottom().saturating_sub(1), height: area.height.min(1), ..area };
    pen.area.height = pen.area.height.saturating_sub(1);
    match view_state.shown {
        ScreenView::Parts => parts(view_state, ink, &mut pen),
        ScreenView::Details(from) => {
            let lines = {
                let all = view_state.lines();
                all.get(view_state.chosen(&all)).map(|line| details::lines(line, &view_state.job)).unwrap_or_default()
            };
            view_state.shown = ScreenView::Details(draw_scrolled(&lines, from, ink, &mut pen));
        }
        ScreenView::Help(from) => {
            let lines: Vec<String> = HELP.lines().map(str::to_owned).collect();
            view_state.shown = ScreenView::Help(draw_scrolled(&lines, from, ink, &mut pen));
        }
    }
    let mut pen = Pen { buffer: pen.buffer, area: keys, y: keys.y };
    let text = match view_state.shown {
        ScreenView::Parts => format!("q quit  Enter details  s sort: {}  ? help  ↑↓ choose", view_state.sort.keyword()),
        _ => "Esc back  ↑↓ scroll  q quit".into(),
    };
    pen.write(&text, ink.quiet());
}

/// Draws the job status, on some lines.
fn head(view_state: &ViewState, ink: Ink, pen: &mut Pen<'_>) {
    let view = &view_state.job.view;
    let (status, recent, roomy) = (&view.status, &view.batches.last_10_s, pen.area.height >= FULL_LINES_MIN);
    let name = harmless(if status.job.is_empty() { &view.file } else { &status.job }, NAME_CHARS_MAX);
    let since = time(status.now_us.saturating_sub(status.since_us).max(0).unsigned_abs());
    let workers = count(status.workers as u64, "worker");
    let processes = match status.answered {
        0 | 1 => String::new(),
        answered => format!(" in {answered} processes"),
    };
    let more = match view.state {
        JobState::Running => format!("  running for {since}, {workers}{processes}"),
        JobState::Starting | JobState::Silent => String::new(),
    };
    pen.pieces(&[(&name, ink.strong()), (&more, ink.quiet())]);
    let is_unresponsive = view.state != JobState::Running;
    let style = match view.diagnosis.keeps_up {
        Some(true) => ink.good(),
        Some(false) => ink.bad(),
        None => Style::new(),
    };
    let summary = clean(&view.diagnosis.summary);
    pen.write_wrapped(&summary, if roomy || is_unresponsive { 3 } else { 1 }, style);
    let old = if is_unresponsive { ink.quiet() } else { Style::new() };
    let (rows_in, rows_out) = part::rates(view);
    let last = status.last_batch.map_or_else(String::new, |batch| format!("  batch {}", grouped(batch.0)));
    let delay = view_state.job.last.as_ref().and_then(|batch| part::delay_us(view, batch));
    let delay = delay.map_or_else(String::new, |us| format!("  delay {}", time(us)));
    let took = if recent.batches > 0 { format!("  takes {}", time(recent.took_p50_us)) } else { String::new() };
    let flying = view.batches.in_flight.len();
    pen.write(
        &format!("in {}/s  out {}/s{delay}{last}{took}  {flying} in flight", short(rows_in), short(rows_out)),
        old,
    );
    if pen.area.height < 12 {
        return;
    }
    let mut facts = Vec::new();
    if view_state.restarts > 0 {
        let ago = time(view.now_us.saturating_sub(view_state.restarted_us).max(0).unsigned_abs());
        facts.push(format!("restarted {}, {ago} ago", count(view_state.restarts, "time")));
    }
    let most =
        if status.memory_bytes_max > 0 { format!(" of {}", size(status.memory_bytes_max)) } else { String::new() };
    facts.push(format!("memory {}{most}", size(status.memory_bytes)));
    facts.push(format!("state {}", size(view.parts.iter().map(|part| part.state_bytes).fold(0, u64::saturating_add))));
    if let Some(last) = view.checkpoints.last() {
        let ago = time(view.now_us.saturating_sub(last.published_us).max(0).unsigned_abs());
        facts.push(format!("checkpoint {ago} ago"));
    }
    pen.write_wrapped(&facts.join("  "), if roomy { 2 } else { 1 }, old);
}

fn parts(view_state: &mut ViewState, ink: Ink, pen: &mut Pen<'_>) {
    let columns = columns(pen.area.width.into());
    let used: usize = columns.iter().map(|column| column.width + 1).sum();
    let names = usize::from(pen.area.width).saturating_sub(used);
    let mut heads = format!("{:names$}", truncate("NAME", names));
    for column in &columns {
        heads.push_str(&format!(" {:>width$}", column.head, width = column.width));
    }
    pen.write(&heads, ink.head());
    let sentences = view_state.job.view.diagnosis.sentences.len().min(SENTENCES_MAX);
    let below = if pen.area.height >= FULL_LINES_MIN { sentences as u16 } else { 0 };
    let room = usize::from(pen.room().saturating_sub(below).max(1));
    let lines = view_state.lines();
    let (chosen, lines_count) = (view_state.chosen(&lines), lines.len());
    drop(lines);
    let first = view_state.first(chosen, lines_count, room);
    let view = &view_state.job.view;
    let (hot, is_unresponsive) = (view.diagnosis.bottleneck.as_ref(), view.state != JobState::Running);
    for (at, line) in view_state.lines().iter().enumerate().skip(first).take(room) {
        let is_hot = !is_unresponsive && line.now.busy >= BUSY && hot.is_some_and(|hot| hot.part == line.now.part.name);
        let mark = if is_hot { " ◄" } else { "" };
        let others = if line.branch.others.is_empty() { "" } else { " +" };
        let name = format!("{}{}{others}", line.branch.lines, harmless(&line.now.part.name, NAME_CHARS_MAX));
        let name = truncate(&name, names.saturating_sub(mark.width())) + mark;
        let mut text = pad(&name, names);
        for column in &columns {
            let cell = truncate(&(column.cell)(line), column.width);
            text.push(' ');
            text.push_str(&" ".repeat(column.width.saturating_sub(cell.width())));
            text.push_str(&cell);
        }
        let style = match (is_hot, is_unresponsive) {
            (true, _) if view.diagnosis.keeps_up == Some(false) => ink.bad(),
            (true, _) => ink.warm(),
            (false, true) => ink.quiet(),
            (false, false) => Style::new(),
        };
        pen.write(&text, if at == chosen { ink.chosen(style) } else { style });
    }
    let wanted = pen.area.bottom().saturating_sub(below);
    pen.y = pen.y.max(wanted);
    for sentence in view.diagnosis.sentences.iter().take(below.into()) {
        let style = if sentence.level == Level::Bad { ink.bad() } else { ink.quiet() };
        pen.write(&clean(&sentence.text), style);
    }
}

/// Returns the columns for which there is room, in their order.
fn columns(width: usize) -> Vec<&'static Column> {
    let mut by_rank: Vec<&Column> = COLUMNS.iter().collect();
    by_rank.sort_by_key(|column| column.rank);
    let (mut left, mut rank) = (width, 0);
    for column in by_rank {
        // Only the first columns may shrink the name.
        let name = if column.rank < 2 { NAME_COLUMNS_MIN } else { NAME_COLUMNS_PREFERRED };
        if left < column.width + 1 + name {
            break;
        }
        left -= column.width + 1;
        rank = column.rank + 1;
    }
    COLUMNS.iter().filter(|column| column.rank < rank).collect()
}

/// Shows the lines from `from` on. Returns the first line that is visible.
fn draw_scrolled(lines: &[String], from: usize, ink: Ink, pen: &mut Pen<'_>) -> usize {
    let width = usize::from(pen.area.width);
    let lines: Vec<String> = lines.iter().flat_map(|line| wrap(line, width, usize::MAX)).collect();
    let from = from.min(lines.len().saturating_sub(usize::from(pen.room().max(1))));
    for line in lines.iter().skip(from).take(pen.room().into()) {
        let style = if line.starts_with(' ') { Style::new() } else { ink.strong() };
        pen.write(line, style);
    }
    from
}

/// Makes text that may contain external data safe, on one line.
fn clean(text: &str) -> String {
    harmless(text, 2_000)
}

fn pad(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(text.width())))
}

/// Wraps text between words. Continuation lines of an indented line are indented further. What does not fit into the
/// last line is cut off.
pub fn wrap(text: &str, columns: usize, lines_max: usize) -> Vec<String> {
    let columns = columns.max(1);
    let indent = text.chars().take_while(|c| *c == ' ').count();
    let hanging = if indent > 0 && indent + 2 <= columns / 2 { indent + 2 } else { 0 };
    let (mut lines, mut before, mut rest) = (Vec::new(), String::new(), text.trim_end());
    loop {
        let room = columns - before.len();
        let cut = if rest.width() <= room || lines.len() + 1 >= lines_max { 0 } else { cut_at(rest, room) };
        if cut == 0 {
            lines.push(before + &truncate(rest, room));
            return lines;
        }
        lines.push(before + &rest[..cut]);
        rest = rest[cut..].trim_start();
        before = " ".repeat(hanging);
    }
}

/// Returns how many bytes of text fit into `columns`, up to a gap between words if there is one. 0 if no character
/// fits.
fn cut_at(text: &str, columns: usize) -> usize {
    let (mut end, mut used, mut gap) = (0, 0, None);
    for (at, c) in text.char_indices() {
        if c == ' ' && !text[..at].trim().is_empty() {
            gap = Some(at);
        }
        used += c.width().unwrap_or(0);
        if used > columns {
            break;
        }
        end = at + c.len_utf8();
    }
    gap.unwrap_or(end)
}

const HELP: &str = "\
Keys
  ↑ ↓ j k      select a part; PageUp, PageDown, Home, End
  Enter        details of the part
  s S          sort by graph, work, rows/s, guest, memory, rejects or name
  ?            this help
  q Esc Ctrl-C quit
Columns
  ROWS/S   output rows per second in the last ten seconds; sinks: committed rows
  WORK     share of the time that the part is busy: 100% is all workers; of a sink, its thread
  REJECTS  rows rejected or late since startup
  LAG      sources: records that are in no batch yet; stages: delay of the watermark
  INBOX    share of the inbox in use; a source waits when it is full
  GUEST    CPU time of the plugin, as a share of one core
  CALLS/S  calls of the plugin per second
  MEMORY   maximum memory of a call of the plugin
  STATE    size of the state
Signs
  ◄        the bottleneck: the busiest part, on which others wait
  +        the part also reads others than the one above it
Header
  delay    time from the time of the last batch to its commit
  takes    median duration of a batch";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_between_words() {
        assert_eq!(wrap("one two three", 7, 9), ["one two", "three"]);
        assert_eq!(wrap("one two three", 7, 1), ["one tw…"]);
        assert_eq!(wrap("  a: one two three", 10, 9), ["  a: one", "    two", "    three"]);
        assert_eq!(wrap("abcdefgh", 3, 9), ["abc", "def", "gh"]);
        assert_eq!(wrap("日本", 1, 9).len(), 1);
        assert_eq!((wrap("", 5, 9), wrap("x", 0, 9)), (vec![String::new()], vec!["x".to_owned()]));
    }

    #[test]
    fn columns_are_those_that_fit() {
        let heads = |width| columns(width).iter().map(|column| column.head).collect::<Vec<_>>();
        assert_eq!(heads(20), [] as [&str; 0]);
        assert_eq!(heads(40), ["ROWS/S", "WORK"]);
        assert_eq!(heads(80), ["KIND", "ROWS/S", "WORK", "INBOX", "LAG", "REJECTS", "GUEST"]);
        assert_eq!(heads(200).len(), COLUMNS.len());
    }
}
