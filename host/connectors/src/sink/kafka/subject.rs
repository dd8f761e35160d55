//! The schema of a sink's records in a registry: registered or looked up before the first of them, as Confluent's serializers do. The
//! registry has one id for one schema, so records of a batch that is written again are the same.

use super::super::encode::avro;
use super::super::waiting::new_runtime;
use super::watch::Watch;
use crate::failure::Failure;
use crate::job::spec::SubjectSpec;
use crate::kafka::fault::KafkaFault;
use crate::schema_registry::{RegistryFault, SchemaRegistry};
use arrow::datatypes::SchemaRef;
use std::future::Future;
use std::path::Path;

/// Where the schema of a sink's records is.
pub(super) struct Subject<'a> {
    pub sink: &'a str,
    pub topic: &'a str,
    pub spec: &'a SubjectSpec,
    pub folder: &'a Path,
}

impl Subject<'_> {
    fn name(&self) -> String {
        self.spec.subject.clone().unwrap_or_else(|| format!("{}-value", self.topic))
    }

    /// An error where the registry would not take the schema. One that is away says nothing about it.
    pub fn check(&self, schema: &SchemaRef) -> Result<(), String> {
        let (registry, text) = self.parts(schema);
        let subject = self.name();
        let asked = aside(async {
            match self.spec.register {
                true => registry.incompatible(&subject, &text).await,
                false => Ok(registry.look_up(&subject, &text).await?.map_or_else(|| Some(String::new()), |_| None)),
            }
        });
        match asked? {
            Ok(None) | Err(RegistryFault::Passing(_)) => Ok(()),
            Ok(Some(why)) if self.spec.register => Err(self.refused(&why)),
            Ok(Some(_)) => Err(self.missing(&text)),
            Err(RegistryFault::Refused(why)) => Err(self.refused(&why)),
            Err(RegistryFault::Lasting(why)) => Err(self.told(&why)),
        }
    }

    /// The id of the schema. Waits while the registry is away.
    pub fn id(&self, schema: &SchemaRef, failure: &Failure) -> Result<u32, String> {
        let (registry, text) = self.parts(schema);
        let subject = self.name();
        let who = format!("sink `{}`: the schema registry {}", self.sink, self.spec.registry.url);
        let mut watch = Watch::new(failure, who, Some(self.spec.registry.wait));
        loop {
            let asked = aside(async {
                match self.spec.register {
                    true => registry.register(&subject, &text).await.map(Some),
                    false => registry.look_up(&subject, &text).await,
                }
            });
            match asked? {
                Ok(Some(id)) => {
                    watch.done();
                    return Ok(id);
                }
                Ok(None) => return Err(self.missing(&text)),
                Err(RegistryFault::Passing(why)) => {
                    watch.again(&KafkaFault::passing(why)).map_err(|fault| self.told(&fault.message))?;
                }
                Err(RegistryFault::Refused(why)) => return Err(self.refused(&why)),
                Err(RegistryFault::Lasting(why)) => return Err(self.told(&why)),
            }
        }
    }

    fn parts(&self, schema: &SchemaRef) -> (SchemaRegistry, String) {
        let registry = SchemaRegistry::new(&self.spec.registry, self.folder);
        (registry, avro::schema_text(schema, &self.spec.record))
    }

    fn told(&self, why: &str) -> String {
        format!("the schema registry {}: {why}", self.spec.registry.url)
    }

    fn refused(&self, why: &str) -> String {
        format!(
            "the schema registry {} does not take the schema of these rows as `{}`: {why}; write columns that fit the schema before it \
             (`record` is its name), or name another `registry.subject`, or change the compatibility of this one in the registry",
            self.spec.registry.url,
            self.name()
        )
    }

    fn missing(&self, text: &str) -> String {
        format!(
            "the schema registry {} does not have the schema of these rows as `{}`, and `registry.register` is false; register it \
             there: {text}",
            self.spec.registry.url,
            self.name()
        )
    }
}

/// Asks on a thread of its own: the caller may be a thread of an async runtime, which must not block on another.
fn aside<T: Send>(asking: impl Future<Output = T> + Send) -> Result<T, String> {
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| Ok(new_runtime().map_err(|error| error.to_string())?.block_on(asking)));
        asked.join().unwrap_or_else(|_| Err("a thread that asked the schema registry panicked".into()))
    })
}
