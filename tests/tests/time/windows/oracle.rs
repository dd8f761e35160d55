//! What windows must give: every row is kept, and every batch looks at all of them.

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// A row. Times are in seconds.
#[derive(Clone, Debug)]
pub struct Event {
    pub source: usize,
    pub key: u64,
    pub value: i64,
    pub time: i64,
}

/// Which rows are in one window, in seconds.
#[derive(Clone, Copy, Debug)]
pub enum Extent {
    Sliding { size: i64, slide: Option<i64> },
    Session { gap: i64 },
    Batches { size: i64, slide: i64 },
}

/// A stage with a window.
#[derive(Clone, Debug)]
pub struct Stage {
    pub extent: Extent,
    pub keyed: bool,
    pub lateness: i64,
    pub idle: Option<i64>,
    pub update: bool,
}

impl Stage {
    pub fn of_event_time(&self) -> bool {
        !matches!(self.extent, Extent::Batches { .. })
    }

    fn key(&self, event: &Event) -> Option<u64> {
        self.keyed.then_some(event.key)
    }
}

/// A time as sinks write it.
pub fn format_time(seconds: i64) -> String {
    format!("1970-01-01T{:02}:{:02}:{:02}.000000Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// The rows of each batch of the stage's streams: `s` its own, `late` the late ones. `ends`: event time ends with the last batch.
pub fn results(stage: &Stage, batches: &[Vec<Event>], ends: bool) -> Vec<(&'static str, Vec<Vec<Value>>)> {
    match stage.extent {
        Extent::Batches { size, slide } => vec![("s", of_batches(stage, batches, size, slide))],
        Extent::Sliding { size, slide } => {
            in_time(stage, batches, ends, &mut Sliding::new(size, slide.unwrap_or(size)))
        }
        Extent::Session { gap } => in_time(stage, batches, ends, &mut Sessions { gap, open: Vec::new() }),
    }
}

fn of_batches(stage: &Stage, batches: &[Vec<Event>], size: i64, slide: i64) -> Vec<Vec<Value>> {
    let one = |batch: i64| {
        if batch % slide != 0 {
            return Vec::new();
        }
        let within = batches.iter().zip(1..).filter(|(_, at)| *at > batch - size && *at <= batch);
        let mut groups: BTreeMap<Option<u64>, Vec<&Event>> = BTreeMap::new();
        if !stage.keyed {
            groups.insert(None, Vec::new());
        }
        for event in within.flat_map(|(events, _)| events) {
            groups.entry(stage.key(event)).or_default().push(event);
        }
        groups.iter().map(|(key, events)| row(*key, None, events)).collect()
    };
    (1..=batches.len() as i64).map(one).collect()
}

fn row(key: Option<u64>, bounds: Option<(i64, i64)>, events: &[&Event]) -> Value {
    let total = (!events.is_empty()).then(|| events.iter().map(|event| event.value).sum::<i64>());
    let least = events.iter().map(|event| event.value).min();
    let mut row = json!({ "n": events.len(), "total": total, "least": least });
    if let Some(key) = key {
        row["k"] = json!(format!("k{key}"));
    }
    if let Some((start, end)) = bounds {
        row["window_start"] = json!(format_time(start));
        row["window_end"] = json!(format_time(end));
    }
    row
}

/// The windows that are open.
trait Windows {
    /// Puts a row into its windows; `false`: it is late.
    fn add(&mut self, key: Option<u64>, event: &Event, complete: Option<i64>) -> bool;
    /// All of them: key, bounds, rows, and whether the batch changed it.
    fn all(&self) -> Vec<Window<'_>>;
    /// Closes what ends here or before; it no longer changes.
    fn close(&mut self, complete: Option<i64>);
}

struct Window<'a> {
    key: Option<u64>,
    start: i64,
    end: i64,
    events: Vec<&'a Event>,
    changed: bool,
}

fn in_time(
    stage: &Stage,
    batches: &[Vec<Event>],
    ends: bool,
    windows: &mut dyn Windows,
) -> Vec<(&'static str, Vec<Vec<Value>>)> {
    let mut watermark = Watermark { stage, newest: [None; 2], active: [1; 2], silent: None, complete: None };
    let (mut out, mut late) = (Vec::new(), Vec::new());
    for (events, batch) in batches.iter().zip(1..) {
        let before = watermark.complete;
        let is_late = |event: &&Event| !windows.add(stage.key(event), event, before);
        let output =
            |event: &Event| json!({ "k": format!("k{}", event.key), "v": event.value, "ts": format_time(event.time) });
        late.push(events.iter().filter(is_late).map(output).collect());
        watermark.batch(batch, events);
        if ends && batch == batches.len() as i64 {
            watermark.complete = Some(i64::MAX);
        }
        let complete = watermark.complete;
        let put_out = |window: &Window<'_>| match stage.update {
            true => window.changed,
            false => complete.is_some_and(|complete| window.end <= complete),
        };
        let all = windows.all().into_iter().filter(put_out);
        out.push(all.map(|window| row(window.key, Some((window.start, window.end)), &window.events)).collect());
        windows.close(complete);
    }
    vec![("s", out), ("late", late)]
}

struct Watermark<'a> {
    stage: &'a Stage,
    newest: [Option<i64>; 2],
    active: [i64; 2],
    /// Batches since all sources are idle, a second each.
    silent: Option<i64>,
    complete: Option<i64>,
}

impl Watermark<'_> {
    fn batch(&mut self, batch: i64, events: &[Event]) {
        for event in events {
            self.newest[event.source] = self.newest[event.source].max(Some(event.time));
            self.active[event.source] = batch;
        }
        let counts = |source: &usize| self.stage.idle.is_none_or(|idle| batch - self.active[*source] < idle);
        let least = (0..2).filter(counts).map(|source| self.newest[source]).min();
        if !events.is_empty() {
            self.silent = None;
        }
        match least {
            Some(least) => self.complete = self.complete.max(least.map(|least| least - self.stage.lateness)),
            // If all are idle, the newest row counts, and time advances until all windows have been emitted.
            None => {
                let silent = self.silent.map_or(0, |silent| silent + 1);
                self.silent = Some(silent);
                let open = match self.stage.extent {
                    Extent::Sliding { size, .. } | Extent::Batches { size, .. } => size,
                    Extent::Session { gap } => gap,
                };
                let newest = self.newest.into_iter().max().flatten();
                let on = |newest: i64| newest - self.stage.lateness + silent.min(self.stage.lateness + open);
                self.complete = self.complete.max(newest.map(on));
            }
        }
    }
}

struct Sliding {
    size: i64,
    slide: i64,
    open: BTreeMap<(Option<u64>, i64), Vec<Event>>,
    changed: BTreeSet<(Option<u64>, i64)>,
}

impl Sliding {
    fn new(size: i64, slide: i64) -> Sliding {
        Sliding { size, slide, open: BTreeMap::new(), changed: BTreeSet::new() }
    }
}

impl Windows for Sliding {
    fn add(&mut self, key: Option<u64>, event: &Event, complete: Option<i64>) -> bool {
        let mut start = event.time.div_euclid(self.slide) * self.slide;
        let mut any = false;
        while start + self.size > event.time {
            if complete.is_none_or(|complete| start + self.size > complete) {
                self.open.entry((key, start)).or_default().push(event.clone());
                self.changed.insert((key, start));
                any = true;
            }
            start -= self.slide;
        }
        any
    }

    fn all(&self) -> Vec<Window<'_>> {
        let mut all = Vec::new();
        for (at, events) in &self.open {
            let ((key, start), changed) = (*at, self.changed.contains(at));
            all.push(Window { key, start, end: start + self.size, events: events.iter().collect(), changed });
        }
        all
    }

    fn close(&mut self, complete: Option<i64>) {
        self.open.retain(|(_, start), _| complete.is_none_or(|complete| start + self.size > complete));
        self.changed.clear();
    }
}

struct Sessions {
    gap: i64,
    /// Key, rows, and whether the batch changed it.
    open: Vec<(Option<u64>, Vec<Event>, bool)>,
}

impl Sessions {
    fn bounds(&self, events: &[Event]) -> (i64, i64) {
        let times = || events.iter().map(|event| event.time);
        (times().min().unwrap_or(0), times().max().unwrap_or(0) + self.gap)
    }
}

impl Windows for Sessions {
    fn add(&mut self, key: Option<u64>, event: &Event, complete: Option<i64>) -> bool {
        let (start, end) = (event.time, event.time + self.gap);
        let touches = |session: &(Option<u64>, Vec<Event>, bool)| {
            let (first, last) = self.bounds(&session.1);
            session.0 == key && first < end && start < last
        };
        let touched: Vec<usize> = (0..self.open.len()).filter(|at| touches(&self.open[*at])).collect();
        if touched.is_empty() && complete.is_some_and(|complete| end <= complete) {
            return false;
        }
        let mut events = Vec::new();
        for at in touched.into_iter().rev() {
            events.extend(self.open.remove(at).1);
        }
        events.push(event.clone());
        self.open.push((key, events, true));
        true
    }

    fn all(&self) -> Vec<Window<'_>> {
        let mut all = Vec::new();
        for (key, events, changed) in &self.open {
            let (start, end) = self.bounds(events);
            all.push(Window { key: *key, start, end, events: events.iter().collect(), changed: *changed });
        }
        all
    }

    fn close(&mut self, complete: Option<i64>) {
        let gap = self.gap;
        self.open.retain_mut(|(_, events, changed)| {
            *changed = false;
            let last = events.iter().map(|event| event.time).max().unwrap_or(0) + gap;
            complete.is_none_or(|complete| last > complete)
        });
    }
}
