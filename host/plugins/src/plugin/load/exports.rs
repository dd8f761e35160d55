//! The functions that a component exports, found by name and checked against the interface's types.

use crate::plugin::bindings::{
    BatchArgs, BatchOut, BeginArgs, CogroupArgs, CogroupDescription, CogroupOutput, CommitArgs, CommittedArgs,
    ConfigArgs, DescribeArgs, DescribeInputsArgs, GuestResult, MigrateArgs, OpenArgs, OpenWriterArgs, PairArgs,
    PollArgs, PositionArgs, ReaderDescription, Rejection, RowsArgs, UpdateArgs, WitDescription, WitOutput, WitPolled,
    WitUpdated, WriterDescription,
};
use crate::plugin::releases::parse_interface;
use crate::plugin::world::World;
use millstream_base::error::{Error, Result};
use std::path::Path;
use wasmtime::component::types::{self, ComponentItem};
use wasmtime::component::{Component, ComponentExportIndex, ComponentNamedList, Lift, Lower};

/// The functions of a world.
#[allow(missing_docs)]
pub enum Calls {
    Transform { process: ComponentExportIndex },
    Update { update: ComponentExportIndex, migrate: Option<ComponentExportIndex> },
    Aggregate(AggregateCalls),
    Cogroup { cogroup: ComponentExportIndex },
    Source(SourceCalls),
    Sink(SinkCalls),
}

/// The functions of world `source`.
#[allow(missing_docs)]
pub struct SourceCalls {
    pub partitions: ComponentExportIndex,
    pub open: ComponentExportIndex,
    pub poll: ComponentExportIndex,
    pub durable: ComponentExportIndex,
    pub published: ComponentExportIndex,
}

/// The functions of world `sink`.
#[allow(missing_docs)]
pub struct SinkCalls {
    pub committed: ComponentExportIndex,
    pub open: ComponentExportIndex,
    pub begin: ComponentExportIndex,
    pub write: ComponentExportIndex,
    pub commit: ComponentExportIndex,
}

/// The functions of world `aggregate`.
#[allow(missing_docs)]
pub struct AggregateCalls {
    pub lift: ComponentExportIndex,
    pub combine: ComponentExportIndex,
    pub lower: ComponentExportIndex,
    pub inverse: ComponentExportIndex,
}

impl Calls {
    /// The world that has these functions.
    pub fn world(&self) -> World {
        match self {
            Calls::Transform { .. } => World::Transform,
            Calls::Update { .. } => World::Update,
            Calls::Aggregate(_) => World::Aggregate,
            Calls::Cogroup { .. } => World::Cogroup,
            Calls::Source(_) => World::Source,
            Calls::Sink(_) => World::Sink,
        }
    }
}

/// The exported interface of a component.
pub struct Exports<'a> {
    /// The component file, for messages.
    pub file: &'a Path,
    /// The component.
    pub component: &'a Component,
    /// The type of the interface.
    pub ty: &'a types::Component,
    /// The interface's name: `millstream:plugin/transformer@0.1.0`.
    pub interface: &'a str,
    /// The additional interface that migrates state of other versions, if it has one.
    pub migrator: Option<&'a str>,
}

impl Exports<'_> {
    /// Returns the functions of its world. Fails if one is missing or has another type.
    pub fn calls(&self) -> Result<Calls> {
        Ok(match parse_interface(self.interface).map(|(interface, _)| interface) {
            Some("transformer") => {
                Calls::Transform { process: self.function::<BatchArgs<'_>, GuestResult<WitOutput>>("process")? }
            }
            Some("updater") => Calls::Update {
                update: self.function::<UpdateArgs<'_>, GuestResult<WitUpdated>>("update")?,
                migrate: self.migrate()?,
            },
            Some("cogrouper") => {
                Calls::Cogroup { cogroup: self.function::<CogroupArgs<'_>, GuestResult<CogroupOutput>>("cogroup")? }
            }
            Some("reader") => Calls::Source(SourceCalls {
                partitions: self.function::<ConfigArgs<'_>, GuestResult<Vec<String>>>("partitions")?,
                open: self.function::<OpenArgs<'_>, GuestResult<()>>("open")?,
                poll: self.function::<PollArgs, GuestResult<WitPolled>>("poll")?,
                durable: self.function::<PositionArgs<'_>, GuestResult<()>>("durable")?,
                published: self.function::<PositionArgs<'_>, GuestResult<()>>("published")?,
            }),
            Some("writer") => Calls::Sink(SinkCalls {
                committed: self.function::<CommittedArgs<'_>, GuestResult<Option<u64>>>("committed")?,
                open: self.function::<OpenWriterArgs<'_>, GuestResult<Option<u64>>>("open")?,
                begin: self.function::<BeginArgs, GuestResult<()>>("begin")?,
                write: self.function::<RowsArgs<'_>, GuestResult<Vec<Rejection>>>("write")?,
                commit: self.function::<CommitArgs, GuestResult<()>>("commit")?,
            }),
            _ => Calls::Aggregate(AggregateCalls {
                lift: self.function::<BatchArgs<'_>, GuestResult<BatchOut>>("lift")?,
                combine: self.function::<PairArgs<'_>, GuestResult<BatchOut>>("combine")?,
                lower: self.function::<PairArgs<'_>, GuestResult<BatchOut>>("lower")?,
                inverse: self.function::<PairArgs<'_>, GuestResult<BatchOut>>("inverse")?,
            }),
        })
    }

    /// The function that says what the plugin does.
    pub fn describe(&self) -> Result<ComponentExportIndex> {
        match parse_interface(self.interface) {
            Some(("cogrouper", _)) => {
                self.function::<DescribeInputsArgs<'_>, GuestResult<CogroupDescription>>("describe")
            }
            Some(("reader", _)) => self.function::<ConfigArgs<'_>, GuestResult<ReaderDescription>>("describe"),
            Some(("writer", _)) => self.function::<DescribeArgs<'_>, GuestResult<WriterDescription>>("describe"),
            _ => self.function::<DescribeArgs<'_>, GuestResult<WitDescription>>("describe"),
        }
    }

    /// The function that takes over states.
    fn migrate(&self) -> Result<Option<ComponentExportIndex>> {
        let Some(interface) = self.migrator else { return Ok(None) };
        self.function_of::<MigrateArgs<'_>, GuestResult<BatchOut>>(interface, "migrate").map(Some)
    }

    fn function<P, R>(&self, name: &str) -> Result<ComponentExportIndex>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        self.function_of::<P, R>(self.interface, name)
    }

    /// Finds a function and checks that it takes and returns what the interface says.
    fn function_of<P, R>(&self, interface: &str, name: &str) -> Result<ComponentExportIndex>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        let wrong = |message: String| {
            let file = self.file.display();
            Error::plugin(format!(
                "plugin {file}: {name} of {interface} {message}. Build it again: `millstream build`."
            ))
        };
        let found = self
            .component
            .get_export_index(None, interface)
            .and_then(|interface| self.component.get_export(Some(&interface), name));
        match found {
            Some((ComponentItem::ComponentFunc(function), index)) => {
                function
                    .typecheck::<P, R>(&self.ty.instance_type())
                    .map_err(|e| wrong(format!("has another type: {e:#}")))?;
                Ok(index)
            }
            _ => Err(wrong("is missing".into())),
        }
    }
}
