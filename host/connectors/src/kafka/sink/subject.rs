//! The schema of a sink's records in a registry: registered or looked up before the first of them, as Confluent's serializers do. The
//! registry has one id for one schema, so records of a batch that is written again are the same.

use super::watch::Watch;
use crate::kafka::fault::KafkaFault;
use crate::schema_registry::{NewSchema, RegistryFault, SchemaId, SchemaRegistry};
use crate::sink::encode::avro;
use crate::sink::waiting::new_runtime;
use arrow::datatypes::SchemaRef;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use millstream_base::decode::protobuf::{Definition, DefinitionFile};
use millstream_base::failure::Failure;
use millstream_base::job::spec::{ProtobufSpec, SubjectSpec};
use std::collections::HashMap;
use std::future::Future;
use std::path::Path;

/// Where the schema of a sink's records is.
pub(super) struct Subject<'a> {
    pub sink: &'a str,
    pub topic: &'a str,
    pub spec: &'a SubjectSpec,
    /// The message, where records are none of Avro.
    pub protobuf: Option<&'a ProtobufSpec>,
    pub folder: &'a Path,
}

impl Subject<'_> {
    fn name(&self) -> String {
        self.spec.subject.clone().unwrap_or_else(|| format!("{}-value", self.topic))
    }

    /// An error where the registry would not take the schema. One that is away says nothing about it.
    pub fn check(&self, schema: &SchemaRef) -> Result<(), String> {
        let written = self.written(schema)?;
        let registry = SchemaRegistry::new(&self.spec.registry, self.folder);
        let asked = aside(async {
            let (last, before) = match self.place(&registry, &written, false).await? {
                SchemaLookup::All(last, before) => (last, before),
                // What it imports is not there yet: nobody can tell before that is registered.
                SchemaLookup::Missing(_) if self.spec.register => return Ok(Ok(())),
                SchemaLookup::Missing(name) => return Ok(Err(self.missing(&name, &written))),
            };
            Ok(match self.spec.register {
                true => registry.incompatible(&self.name(), &last).await?.map_or(Ok(()), |why| Err(self.refused(&why))),
                false => before.map(|_| ()).ok_or_else(|| self.missing(&self.name(), &written)),
            })
        });
        match asked? {
            Ok(found) => found,
            Err(RegistryFault::Passing(_)) => Ok(()),
            Err(RegistryFault::Refused(why)) => Err(self.refused(&why)),
            Err(RegistryFault::Lasting(why)) => Err(self.told(&why)),
        }
    }

    /// The id of the schema. Waits while the registry is away.
    pub fn id(&self, schema: &SchemaRef, failure: &Failure) -> Result<u32, String> {
        let written = self.written(schema)?;
        let registry = SchemaRegistry::new(&self.spec.registry, self.folder);
        let who = format!("sink `{}`: the schema registry {}", self.sink, self.spec.registry.url);
        let mut watch = Watch::new(failure, who, Some(self.spec.registry.wait));
        loop {
            let asked = aside(async {
                let (last, before) = match self.place(&registry, &written, self.spec.register).await? {
                    SchemaLookup::All(last, before) => (last, before),
                    SchemaLookup::Missing(name) => return Ok(Err(name)),
                };
                match self.spec.register {
                    true => registry.register(&self.name(), &last).await.map(Ok),
                    false => Ok(before.map(|known| known.id).ok_or_else(|| self.name())),
                }
            });
            match asked? {
                Ok(Ok(id)) => {
                    watch.done();
                    return Ok(id);
                }
                Ok(Err(name)) => return Err(self.missing(&name, &written)),
                Err(RegistryFault::Passing(why)) => {
                    watch.again(&KafkaFault::passing(why)).map_err(|fault| self.told(&fault.message))?;
                }
                Err(RegistryFault::Refused(why)) => return Err(self.refused(&why)),
                Err(RegistryFault::Lasting(why)) => return Err(self.told(&why)),
            }
        }
    }

    /// The schema with what it imports in front of it, which is registered, or only looked up. With the last one comes where it is, if
    /// it was looked up.
    async fn place(
        &self,
        registry: &SchemaRegistry,
        written: &SubjectSchema,
        register: bool,
    ) -> Result<SchemaLookup, RegistryFault> {
        let mut versions: HashMap<&str, i64> = HashMap::new();
        let mut last = NewSchema::default();
        for (place, file) in written.files.iter().enumerate() {
            let version =
                |name: &String| (name.clone(), name.clone(), versions.get(name.as_str()).copied().unwrap_or(1));
            let references = file.imports.iter().map(version).collect();
            let schema = NewSchema { text: file.text.clone(), kind: written.kind, references };
            if place + 1 == written.files.len() {
                last = schema;
                break;
            }
            // Others import it by its name, and so they find it by that.
            if register {
                registry.register(&file.name, &schema).await?;
            }
            match registry.look_up(&file.name, &schema).await? {
                Some(known) => versions.insert(&file.name, known.version),
                None => return Ok(SchemaLookup::Missing(file.name.clone())),
            };
        }
        let known = if self.spec.register { None } else { registry.look_up(&self.name(), &last).await? };
        Ok(SchemaLookup::All(last, known))
    }

    /// The schema as it is registered.
    fn written(&self, schema: &SchemaRef) -> Result<SubjectSchema, String> {
        let Some(protobuf) = self.protobuf else {
            let text = avro::schema_text(schema, &self.spec.record);
            let file = WrittenFile { name: String::new(), shown: text.clone(), text, imports: Vec::new() };
            return Ok(SubjectSchema { kind: None, files: vec![file] });
        };
        let definition = Definition::of(&protobuf.descriptor.content, &protobuf.message)?;
        let file = |file: DefinitionFile| WrittenFile {
            shown: format!("the definition `{}`", file.name),
            name: file.name,
            // Confluent's registry takes a definition so as well, and its Python client sends it so.
            text: STANDARD.encode(&file.bytes),
            imports: file.imports,
        };
        Ok(SubjectSchema { kind: Some("PROTOBUF"), files: definition.files.into_iter().map(file).collect() })
    }

    fn told(&self, why: &str) -> String {
        format!("the schema registry {}: {why}", self.spec.registry.url)
    }

    fn refused(&self, why: &str) -> String {
        format!(
            "the schema registry {} rejected the schema of these rows as `{}`: {why}; write columns that fit the schema before it \
             (`record` is its name), or name another `registry.subject`, or change the compatibility of this one in the registry",
            self.spec.registry.url,
            self.name()
        )
    }

    fn missing(&self, name: &str, written: &SubjectSchema) -> String {
        let file = written.files.iter().find(|file| file.name == name).or(written.files.last());
        format!(
            "the schema registry {} does not have the schema of these rows as `{name}`, and `registry.register` is false; register it \
             there: {}",
            self.spec.registry.url,
            file.map_or("", |file| &file.shown)
        )
    }
}

/// A schema as it is registered, behind those that it imports.
struct SubjectSchema {
    kind: Option<&'static str>,
    files: Vec<WrittenFile>,
}

struct WrittenFile {
    name: String,
    text: String,
    /// For people.
    shown: String,
    imports: Vec<String>,
}

/// What a registry has of a schema.
enum SchemaLookup {
    /// All that the schema imports: the schema with references to it, and where it is itself.
    All(NewSchema, Option<SchemaId>),
    /// What it has not, by its name.
    Missing(String),
}

/// Asks on a thread of its own: the caller may be a thread of an async runtime, which must not block on another.
fn aside<T: Send>(asking: impl Future<Output = T> + Send) -> Result<T, String> {
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| Ok(new_runtime().map_err(|error| error.to_string())?.block_on(asking)));
        asked.join().unwrap_or_else(|_| Err("a thread that asked the schema registry panicked".into()))
    })
}
