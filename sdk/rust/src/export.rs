//! Exports of a component: the bindings' traits, implemented for every plugin. Called only by the macros.

use crate::bindings::aggregate::exports::millstream::plugin::aggregator;
use crate::bindings::cogroup::exports::millstream::plugin::cogrouper;
use crate::bindings::migrate::exports::millstream::plugin::migrator;
use crate::bindings::sink::exports::millstream::plugin::writer;
use crate::bindings::source::exports::millstream::plugin::reader;
use crate::bindings::transform::exports::millstream::plugin::transformer;
use crate::bindings::transform::millstream::plugin::types;
use crate::bindings::update::exports::millstream::plugin::updater;
use crate::{
    Aggregate, Batch, Cogroup, Context, Description, Error, Migrate, OldStates, Rejected, Schema, Sink, Source, Stage,
    Timestamp, Transform, Update, cogroup, log, printed, sink, source, update,
};
use std::any::Any;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::Once;
use std::time::Duration;

/// Exports of a plugin.
pub struct Exported<P>(PhantomData<P>);

thread_local! {
    /// The plugin of this component and its config. It is created on the first call.
    static PLUGIN: RefCell<Option<(String, Box<dyn Any>)>> = const { RefCell::new(None) };
}

/// Runs `call` with the component's plugin, which is created again if the config changes.
fn with_plugin<P: 'static, T>(
    config: String,
    new: impl FnOnce(&Stage) -> Result<P, Error>,
    call: impl FnOnce(&mut P, &Stage) -> Result<T, Error>,
) -> Result<T, Error> {
    begin_call();
    let stage = Stage::of_call(config.clone());
    let returned = PLUGIN.with_borrow_mut(|cached| {
        if cached.as_ref().is_none_or(|(old, _)| *old != config) {
            *cached = Some((config, Box::new(new(&stage)?)));
        }
        match cached.as_mut().and_then(|(_, plugin)| plugin.downcast_mut::<P>()) {
            Some(plugin) => call(plugin, &stage),
            None => Err(Error::internal("a component holds two plugins")),
        }
    });
    printed::flush();
    returned
}

/// Runs `call` without a plugin.
fn without_plugin<T>(call: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    begin_call();
    let returned = call();
    printed::flush();
    returned
}

/// Runs `call` with the source or sink that `open` has created.
fn with_opened<S: 'static, T>(call: impl FnOnce(&mut S) -> Result<T, Error>) -> Result<T, Error> {
    without_plugin(|| {
        PLUGIN.with_borrow_mut(|opened| match opened.as_mut().and_then(|(_, opened)| opened.downcast_mut::<S>()) {
            Some(opened) => call(opened),
            None => Err(Error::internal("nothing is open")),
        })
    })
}

/// Returns a plugin's description.
fn described<P, T>(
    stage: Stage,
    new: impl FnOnce(&Stage) -> Result<P, Error>,
    describe: impl FnOnce(&P, &Stage) -> Result<T, Error>,
) -> Result<T, Error> {
    begin_call();
    let said = new(&stage).and_then(|plugin| describe(&plugin, &stage));
    printed::flush();
    said
}

/// Logs the message and location of panics. Otherwise the host only sees a trap. Printed output is logged as well.
fn begin_call() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|panic| log::error(panic)));
        printed::begin();
    });
}

fn rejections(rejected: Vec<Rejected>) -> Vec<types::Rejection> {
    let wire = |rejected: Rejected| types::Rejection { row: rejected.row, reason: rejected.rejection.reason().into() };
    rejected.into_iter().map(wire).collect()
}

impl<P: Transform> transformer::Guest for Exported<P> {
    fn describe(config: String, input: Schema) -> Result<Description, Error> {
        described(Stage::described(config, vec![input]), P::new, |plugin, stage| plugin.describe(stage))
    }

    fn process(context: types::Context, input: types::Batch) -> Result<transformer::Output, Error> {
        let of = Context::of(&context);
        with_plugin(context.config, P::new, |plugin, _| {
            let output = plugin.process(&of, Batch::from_wire(input))?;
            Ok(transformer::Output { rows: output.rows.into_wire()?, rejections: rejections(output.rejected) })
        })
    }
}

impl<P: Update> updater::Guest for Exported<P> {
    fn describe(config: String, input: Schema) -> Result<Description, Error> {
        described(Stage::described(config, vec![input]), P::new, |plugin, stage| plugin.describe(stage))
    }

    fn update(context: types::Context, groups: updater::Groups) -> Result<updater::Updated, Error> {
        let of = Context::of(&context);
        with_plugin(context.config, P::new, |plugin, stage| {
            let groups = update::Groups {
                keys: Batch::from_wire(groups.keys),
                rows: Batch::from_wire(groups.rows),
                states: Batch::from_wire(groups.states),
                ends: groups.ends,
                known: groups.known,
                timed_out: groups.timed_out,
            };
            let updated = plugin.update(stage, &of, groups)?;
            Ok(updater::Updated {
                states: updated.states.into_wire()?,
                kept: updated.kept,
                output: updated.output.into_wire()?,
                rejections: rejections(updated.rejected),
            })
        })
    }
}

impl<P: Migrate> migrator::Guest for Exported<P> {
    fn migrate(config: String, version: String, schema: Schema, states: types::Batch) -> Result<types::Batch, Error> {
        with_plugin(config, P::new, |plugin, stage| {
            plugin.migrate(stage, OldStates { version, schema, states: Batch::from_wire(states) })?.into_wire()
        })
    }
}

impl<P: Aggregate> aggregator::Guest for Exported<P> {
    fn describe(config: String, input: Schema) -> Result<Description, Error> {
        described(Stage::described(config, vec![input]), P::new, |plugin, stage| plugin.describe(stage))
    }

    fn lift(context: types::Context, rows: types::Batch) -> Result<types::Batch, Error> {
        let of = Context::of(&context);
        with_plugin(context.config, P::new, |plugin, _| plugin.lift(&of, Batch::from_wire(rows))?.into_wire())
    }

    fn combine(context: types::Context, left: types::Batch, right: types::Batch) -> Result<types::Batch, Error> {
        let of = Context::of(&context);
        with_plugin(context.config, P::new, |plugin, _| {
            plugin.combine(&of, Batch::from_wire(left), Batch::from_wire(right))?.into_wire()
        })
    }

    fn lower(context: types::Context, keys: types::Batch, accumulators: types::Batch) -> Result<types::Batch, Error> {
        let of = Context::of(&context);
        with_plugin(context.config, P::new, |plugin, _| {
            plugin.lower(&of, Batch::from_wire(keys), Batch::from_wire(accumulators))?.into_wire()
        })
    }

    fn inverse(context: types::Context, whole: types::Batch, part: types::Batch) -> Result<types::Batch, Error> {
        let of = Context::of(&context);
        with_plugin(context.config, P::new, |plugin, _| {
            plugin.inverse(&of, Batch::from_wire(whole), Batch::from_wire(part))?.into_wire()
        })
    }
}

impl<P: Cogroup> cogrouper::Guest for Exported<P> {
    fn describe(config: String, inputs: Vec<Schema>) -> Result<cogrouper::Description, Error> {
        described(Stage::described(config, inputs), P::new, |plugin, stage| plugin.describe(stage))
    }

    fn cogroup(context: types::Context, groups: cogrouper::Groups) -> Result<cogrouper::Output, Error> {
        let of = Context::of(&context);
        with_plugin(context.config, P::new, |plugin, stage| {
            let inputs = groups.inputs.into_iter();
            let inputs = inputs.map(|input| cogroup::Grouped { rows: Batch::from_wire(input.rows), ends: input.ends });
            let groups = cogroup::Groups { keys: Batch::from_wire(groups.keys), inputs: inputs.collect() };
            let cogrouped = plugin.cogroup(stage, &of, groups)?;
            Ok(cogrouper::Output {
                rows: cogrouped.rows.into_wire()?,
                rejections: cogrouped.rejected.into_iter().map(rejections).collect(),
            })
        })
    }
}

impl<S: Source + source::Described> reader::Guest for Exported<S> {
    fn describe(config: String) -> Result<reader::Description, Error> {
        without_plugin(|| source::describe::<S>(&config))
    }

    fn partitions(config: String) -> Result<Vec<String>, Error> {
        without_plugin(|| S::partitions(&source::config(&config)?))
    }

    fn open(config: String, partition: String, position: Option<Vec<u8>>) -> Result<(), Error> {
        without_plugin(|| {
            let opened = S::open(source::config(&config)?, &partition, position.as_deref())?;
            PLUGIN.set(Some((config, Box::new(opened))));
            Ok(())
        })
    }

    fn poll(rows_max: u32, wait_ms: u32) -> Result<reader::Polled, Error> {
        with_opened(|source: &mut S| {
            let mut rows = source::Arrivals::new(rows_max as usize);
            let polled = source.poll(&mut rows, Duration::from_millis(wait_ms.into()))?;
            let (rows, refused) = rows.finish()?;
            let refused = refused.into_iter().map(|source::Refused { data, reason }| reader::Refusal { data, reason });
            Ok(reader::Polled {
                rows: rows.into_wire()?,
                refused: refused.collect(),
                position: polled.position,
                next: match polled.next {
                    source::Next::Ready => reader::Next::Ready,
                    source::Next::Pause(time) => {
                        reader::Next::Pause(u32::try_from(time.as_millis()).unwrap_or(u32::MAX))
                    }
                    source::Next::Ended => reader::Next::Ended,
                },
            })
        })
    }

    fn durable(position: Vec<u8>) -> Result<(), Error> {
        with_opened(|source: &mut S| source.durable(&position))
    }

    fn published(position: Vec<u8>) -> Result<(), Error> {
        with_opened(|source: &mut S| source.published(&position))
    }
}

impl<S: Sink + sink::Described> writer::Guest for Exported<S> {
    fn describe(config: String, input: Schema) -> Result<writer::Description, Error> {
        without_plugin(|| sink::describe::<S>(&config, &input))
    }

    fn committed(config: String, identity: writer::Identity) -> Result<Option<u64>, Error> {
        without_plugin(|| S::committed(source::config(&config)?, &identity))
    }

    fn open(config: String, input: Schema, owner: writer::Owner) -> Result<Option<u64>, Error> {
        without_plugin(|| {
            let mut opened = S::open(source::config(&config)?, &input, &owner)?;
            let last = opened.last()?;
            PLUGIN.set(Some((config, Box::new(opened))));
            Ok(last)
        })
    }

    fn begin(batch: u64, time: i64) -> Result<(), Error> {
        with_opened(|sink: &mut S| sink.begin(batch, Timestamp(time)))
    }

    fn write(rows: types::Batch) -> Result<Vec<types::Rejection>, Error> {
        with_opened(|sink: &mut S| {
            let mut refused = sink::Refusals::default();
            sink.write(&Batch::from_wire(rows), &mut refused)?;
            Ok(rejections(refused.into_rejected()))
        })
    }

    fn commit(batch: u64) -> Result<(), Error> {
        with_opened(|sink: &mut S| sink.commit(batch))
    }
}
