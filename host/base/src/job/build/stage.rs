//! Stages created by a program.

use super::strings;
use crate::error::{Error, Result};
use crate::job::spec::*;
use crate::job::{expression, pattern};
use crate::limits;
use crate::time::microseconds;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

impl StageSpec {
    fn new<S: Into<String>>(
        name: impl Into<String>,
        from: impl IntoIterator<Item = S>,
        operator: OperatorSpec,
    ) -> StageSpec {
        StageSpec {
            name: name.into(),
            from: strings(from),
            key: Vec::new(),
            op: None,
            window: None,
            event_time: None,
            operator,
            filter: None,
            select: None,
        }
    }

    /// Unites the rows of all inputs.
    pub fn union<S: Into<String>>(name: impl Into<String>, from: impl IntoIterator<Item = S>) -> StageSpec {
        StageSpec::new(name, from, OperatorSpec::Union)
    }

    /// Runs a plugin; a path is enough if no option is set.
    pub fn plugin<S: Into<String>>(
        name: impl Into<String>,
        from: impl IntoIterator<Item = S>,
        plugin: impl Into<PluginSpec>,
    ) -> StageSpec {
        StageSpec::new(name, from, OperatorSpec::Plugin(plugin.into()))
    }

    /// Computes built-in aggregates per batch and key, for example `("n", "count(*)")`. Fails if one is not an aggregate.
    pub fn aggregate<S: Into<String>>(
        name: impl Into<String>,
        from: impl IntoIterator<Item = S>,
        columns: &[(&str, &str)],
    ) -> Result<StageSpec> {
        let name = name.into();
        let one = |(output, text): &(&str, &str)| {
            let parsed = expression::aggregate(output, text);
            parsed.map_err(|message| Error::job(format!("stage `{name}`: `aggregate.{output}`: {message}")))
        };
        let columns = columns.iter().map(one).collect::<Result<_>>()?;
        Ok(StageSpec::new(name, from, OperatorSpec::Aggregate { columns, inverse: false }))
    }

    /// Runs a query over each batch or window, with the inputs as its tables, by name.
    pub fn sql<S: Into<String>>(
        name: impl Into<String>,
        from: impl IntoIterator<Item = S>,
        query: impl Into<String>,
    ) -> StageSpec {
        StageSpec::new(
            name,
            from,
            OperatorSpec::Sql { query: query.into(), functions: BTreeMap::new(), limits: SqlLimits::default() },
        )
    }

    /// Joins pairs of rows of two streams that are equal in these columns.
    pub fn join<S: Into<String>>(name: impl Into<String>, from: [S; 2], join: JoinSpec) -> StageSpec {
        StageSpec::new(name, from, OperatorSpec::Join(join))
    }

    /// Runs a plugin of world `cogroup`, which gets the rows of a key of all inputs in one call.
    pub fn cogroup<S: Into<String>>(
        name: impl Into<String>,
        from: impl IntoIterator<Item = S>,
        plugin: impl Into<PluginSpec>,
    ) -> StageSpec {
        StageSpec::new(name, from, OperatorSpec::Cogroup { with: Vec::new(), plugin: plugin.into() })
    }

    /// Adds columns of a lookup table to each row.
    pub fn enrich<S: Into<String>>(
        name: impl Into<String>,
        from: impl IntoIterator<Item = S>,
        enrich: EnrichSpec,
    ) -> StageSpec {
        StageSpec::new(name, from, OperatorSpec::Enrich(enrich))
    }

    /// Adds columns of a stream's latest row with the same key to each row.
    pub fn latest<S: Into<String>>(
        name: impl Into<String>,
        from: impl IntoIterator<Item = S>,
        latest: LatestSpec,
    ) -> StageSpec {
        StageSpec::new(name, from, OperatorSpec::Latest(latest))
    }

    /// Keeps the `n` rows with the largest or smallest values of a column.
    pub fn top<S: Into<String>>(
        name: impl Into<String>,
        from: impl IntoIterator<Item = S>,
        n: u64,
        by: impl Into<String>,
        ascending: bool,
    ) -> StageSpec {
        StageSpec::new(name, from, OperatorSpec::Top { n, by: by.into(), ascending, rank: None })
    }

    /// For `top` over all rows: sets the column for the rank of each row.
    #[must_use]
    pub fn rank(mut self, column: impl Into<String>) -> StageSpec {
        if let OperatorSpec::Top { rank, .. } = &mut self.operator {
            *rank = Some(column.into());
        }
        self
    }

    /// Emits the latest row of each key as it changes, by a column that orders rows or in order of arrival.
    pub fn newest<S: Into<String>>(
        name: impl Into<String>,
        from: impl IntoIterator<Item = S>,
        by: Option<&str>,
    ) -> StageSpec {
        StageSpec::new(name, from, OperatorSpec::Newest { by: by.map(str::to_owned) })
    }

    /// For aggregates, joins, `latest` and `top` over all rows: sets the column for the operation of a row.
    #[must_use]
    pub fn op(mut self, column: impl Into<String>) -> StageSpec {
        self.op = Some(column.into());
        self
    }

    /// Keeps the first of rows that are equal in these columns (all columns by default).
    pub fn distinct<S: Into<String>, C: Into<String>>(
        name: impl Into<String>,
        from: impl IntoIterator<Item = S>,
        columns: impl IntoIterator<Item = C>,
    ) -> StageSpec {
        StageSpec::new(name, from, OperatorSpec::Distinct(strings(columns)))
    }

    /// Drops rows whose key came within this time before, across batches.
    pub fn deduplicate<S: Into<String>>(
        name: impl Into<String>,
        from: impl IntoIterator<Item = S>,
        within: Duration,
    ) -> StageSpec {
        StageSpec::new(name, from, OperatorSpec::Deduplicate { within })
    }

    /// Finds sequences of rows of a key, in the order of their event times.
    pub fn pattern<S: Into<String>>(
        name: impl Into<String>,
        from: impl IntoIterator<Item = S>,
        pattern: PatternSpec,
    ) -> StageSpec {
        StageSpec::new(name, from, OperatorSpec::Pattern(Box::new(pattern)))
    }

    /// Keeps a share of the rows, from 0 to 1.
    pub fn sample<S: Into<String>>(
        name: impl Into<String>,
        from: impl IntoIterator<Item = S>,
        share: f64,
    ) -> StageSpec {
        StageSpec::new(name, from, OperatorSpec::Sample(share))
    }

    /// Creates streams `<stage>.<branch>` of the rows that fulfill a predicate, for example `("errors", "level = 'ERROR'")`.
    pub fn split<S: Into<String>>(
        name: impl Into<String>,
        from: impl IntoIterator<Item = S>,
        branches: &[(&str, &str)],
    ) -> StageSpec {
        let branches = branches.iter().map(|(name, predicate)| (name.to_string(), predicate.to_string()));
        StageSpec::new(name, from, OperatorSpec::Split(branches.collect()))
    }

    /// Redistributes rows over the workers, into `parts` parts or one per worker.
    pub fn repartition<S: Into<String>>(
        name: impl Into<String>,
        from: impl IntoIterator<Item = S>,
        partitions: Option<u32>,
    ) -> StageSpec {
        StageSpec::new(name, from, OperatorSpec::Repartition { partitions })
    }

    /// Sets the columns by which rows are partitioned.
    #[must_use]
    pub fn key<S: Into<String>>(mut self, columns: impl IntoIterator<Item = S>) -> StageSpec {
        self.key = strings(columns);
        self
    }

    /// Sets the rows that the operator works on.
    #[must_use]
    pub fn window(mut self, window: WindowSpec) -> StageSpec {
        self.window = Some(window);
        self
    }

    /// Sets the event time of rows.
    #[must_use]
    pub fn event_time(mut self, time: EventTimeSpec) -> StageSpec {
        self.event_time = Some(time);
        self
    }

    /// Sets an SQL expression that the operator's rows must fulfill to leave the stage.
    #[must_use]
    pub fn filter(mut self, expression: impl Into<String>) -> StageSpec {
        self.filter = Some(expression.into());
        self
    }

    /// Sets the columns of the rows that leave the stage, for example `word, n * 2 as double`.
    #[must_use]
    pub fn select(mut self, columns: impl Into<String>) -> StageSpec {
        self.select = Some(columns.into());
        self
    }

    /// Makes built-in aggregates subtract the rows that leave their sliding window; keys without rows stay.
    #[must_use]
    pub fn inverse(mut self) -> StageSpec {
        if let OperatorSpec::Aggregate { inverse, .. } = &mut self.operator {
            *inverse = true;
        }
        self
    }

    /// Sets the resource limits of a query of `sql`.
    #[must_use]
    pub fn sql_limits(mut self, of_query: SqlLimits) -> StageSpec {
        if let OperatorSpec::Sql { limits, .. } = &mut self.operator {
            *limits = of_query;
        }
        self
    }

    /// Adds a plugin of world `transform` that `sql` calls as a function by this name.
    #[must_use]
    pub fn function(mut self, name: impl Into<String>, plugin: impl Into<PluginSpec>) -> StageSpec {
        if let OperatorSpec::Sql { functions, .. } = &mut self.operator {
            functions.insert(name.into(), plugin.into());
        }
        self
    }
}

impl WindowSpec {
    /// Windows of `size`, with a new one every `slide`.
    pub fn sliding(size: Duration, slide: Duration) -> WindowSpec {
        let extent = WindowExtent::Sliding { size, slide: Some(slide), begin: WindowBegin::default() };
        WindowSpec { extent, emit: WindowEmit::Close }
    }

    /// Windows of `size`: in event time consecutive, in processing time a new one with every batch.
    pub fn with_size(size: Duration) -> WindowSpec {
        let extent = WindowExtent::Sliding { size, slide: None, begin: WindowBegin::default() };
        WindowSpec { extent, emit: WindowEmit::Close }
    }

    /// All rows that ever came: each batch emits the totals of its keys.
    pub fn all() -> WindowSpec {
        WindowSpec { extent: WindowExtent::All, emit: WindowEmit::Close }
    }

    /// Sessions: rows with less than `gap` between them, at most a day long.
    pub fn session(gap: Duration) -> WindowSpec {
        let length_max = Duration::from_millis(limits::SESSION_LENGTH_MS_MAX);
        WindowSpec { extent: WindowExtent::Session { gap, length_max }, emit: WindowEmit::Close }
    }

    /// Emits totals of all rows as a changelog (insert/delete).
    #[must_use]
    pub fn changes(mut self) -> WindowSpec {
        self.emit = WindowEmit::Changes;
        self
    }

    /// Emits results with every batch that changes them, instead of once.
    #[must_use]
    pub fn update(mut self) -> WindowSpec {
        self.emit = WindowEmit::Update;
        self
    }
}

impl EventTimeSpec {
    /// The time of a row by a timestamp column or an SQL expression, without lateness; the watermark waits for all sources.
    pub fn new(time: impl Into<String>) -> EventTimeSpec {
        EventTimeSpec { time: vec![time.into()], lateness: Duration::ZERO, idle: None, ahead_max: None }
    }

    /// Sets how much older a row may be than the newest row of its source.
    #[must_use]
    pub fn lateness(mut self, lateness: Duration) -> EventTimeSpec {
        self.lateness = lateness;
        self
    }

    /// Sets after how long without rows the watermark no longer waits for a source.
    #[must_use]
    pub fn idle(mut self, idle: Duration) -> EventTimeSpec {
        self.idle = Some(idle);
        self
    }
}

impl PatternSpec {
    /// Steps as a job file writes them, `"small{3} followed by large"`, and the condition of each. Fails for invalid steps.
    pub fn new(steps: &str, define: &[(&str, &str)]) -> Result<PatternSpec> {
        let steps = pattern::steps(steps).map_err(|message| Error::job(format!("`pattern.steps`: {message}")))?;
        Ok(PatternSpec {
            steps,
            define: define.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect(),
            measures: Vec::new(),
            within: None,
            skip: PatternSkip::default(),
            rows_max: limits::PATTERN_KEPT_MAX,
            partials_max: limits::PATTERN_KEPT_MAX,
        })
    }

    /// Sets the columns of a match after its key and times, for example `("total", "sum(small.amount)")`.
    #[must_use]
    pub fn measures(mut self, columns: &[(&str, &str)]) -> PatternSpec {
        self.measures = columns.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect();
        self
    }

    /// Sets the maximum time between the first and the last row of a match.
    #[must_use]
    pub fn within(mut self, time: Duration) -> PatternSpec {
        self.within = Some(time);
        self
    }

    /// Sets where the search continues after a match.
    #[must_use]
    pub fn skip(mut self, skip: PatternSkip) -> PatternSpec {
        self.skip = skip;
        self
    }
}

impl JoinSpec {
    /// An inner join of rows of one batch or window by columns of both inputs.
    pub fn on<S: Into<String>>(columns: impl IntoIterator<Item = S>) -> JoinSpec {
        let on = strings(columns).into_iter().map(|name| (name.clone(), name)).collect();
        JoinSpec { with: None, on, kind: JoinKind::Inner, within_us: None, as_of: false, ttl: None }
    }

    /// Sets which rows without a partner are kept.
    #[must_use]
    pub fn kind(mut self, kind: JoinKind) -> JoinSpec {
        self.kind = kind;
        self
    }

    /// Makes it an as-of join: each row gets the latest row of the second input at its event time.
    #[must_use]
    pub fn as_of(mut self) -> JoinSpec {
        self.as_of = true;
        self
    }

    /// For a join of all rows: drops a key that has had no new rows for this long.
    #[must_use]
    pub fn ttl(mut self, time: Duration) -> JoinSpec {
        self.ttl = Some(time);
        self
    }

    /// Makes it an interval join: how far apart the event times of partners may be.
    #[must_use]
    pub fn within(mut self, time: Duration) -> JoinSpec {
        let us = microseconds(time);
        self.within_us = Some((-us, us));
        self
    }
}

impl EnrichSpec {
    /// A file with a header or column names in it, which is checked every second; rows that it does not contain stay.
    pub fn file<S: Into<String>>(
        path: impl Into<PathBuf>,
        format: EnrichFormat,
        on: impl IntoIterator<Item = S>,
    ) -> EnrichSpec {
        EnrichSpec {
            table: EnrichTable::File { path: path.into(), format },
            on: strings(on).into_iter().map(|name| (name.clone(), name)).collect(),
            kind: JoinKind::Left,
            schema: Vec::new(),
            poll: Duration::from_millis(limits::ENRICH_FILE_POLL_MS),
        }
    }
}
