//! The schema of a sink's records in a registry. It is registered or looked up before the first record, as by Confluent's serializers. The
//! registry has one id per schema, so records of a replayed batch are identical.

use super::watch::Watch;
use crate::kafka::fault::KafkaFault;
use arrow::datatypes::SchemaRef;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use millstream_base::failure::Failure;
use millstream_connect::schema_registry::{NewSchema, RegistryFault, SchemaId, SchemaRegistry};
use millstream_connect::sink::encode::avro;
use millstream_connect::sink::waiting::new_runtime;
use millstream_job::spec::SubjectSpec;
use millstream_rows::decode::protobuf::{Definition, DefinitionFile};
use millstream_rows::formats::ProtobufSpec;
use std::collections::HashMap;
use std::future::Future;
use std::path::Path;

/// The registry subject of the schema of a sink's records.
pub(super) struct Subject<'a> {
    pub sink: &'a str,
    pub topic: &'a str,
    pub spec: &'a SubjectSpec,
    /// The message type, if records are not Avro.
    pub protobuf: Option<&'a ProtobufSpec>,
    pub dir: &'a Path,
}

impl Subject<'_> {
    fn name(&self) -> String {
        self.spec.subject.clone().unwrap_or_else(|| format!("{}-value", self.topic))
    }

    /// Returns an error if the registry would reject the schema. An unreachable registry is not an error.
    pub fn check(&self, schema: &SchemaRef) -> Result<(), String> {
        let subject_schema = self.subject_schema(schema)?;
        let registry = SchemaRegistry::new(&self.spec.registry, self.dir);
        let result = run_blocking(async {
            let (last, before) = match self.resolve(&registry, &subject_schema, false).await? {
                SchemaLookup::All(last, before) => (last, before),
                // An imported schema does not exist yet, so nothing can be checked before it is registered.
                SchemaLookup::Missing(_) if self.spec.register => return Ok(Ok(())),
                SchemaLookup::Missing(name) => return Ok(Err(self.missing_message(&name, &subject_schema))),
            };
            Ok(match self.spec.register {
                true => registry
                    .incompatible(&self.name(), &last)
                    .await?
                    .map_or(Ok(()), |why| Err(self.incompatible_error(&why))),
                false => before.map(|_| ()).ok_or_else(|| self.missing_message(&self.name(), &subject_schema)),
            })
        });
        match result? {
            Ok(found) => found,
            Err(RegistryFault::Transient(_)) => Ok(()),
            Err(RegistryFault::Incompatible(why)) => Err(self.incompatible_error(&why)),
            Err(RegistryFault::Permanent(why)) => Err(self.unusable_message(&why)),
        }
    }

    /// Returns the id of the schema. Waits while the registry is unreachable.
    pub fn id(&self, schema: &SchemaRef, failure: &Failure) -> Result<u32, String> {
        let subject_schema = self.subject_schema(schema)?;
        let registry = SchemaRegistry::new(&self.spec.registry, self.dir);
        let context = format!("sink `{}`: the schema registry {}", self.sink, self.spec.registry.url);
        let mut watch = Watch::new(failure, context, Some(self.spec.registry.wait));
        loop {
            let result = run_blocking(async {
                let (last, before) = match self.resolve(&registry, &subject_schema, self.spec.register).await? {
                    SchemaLookup::All(last, before) => (last, before),
                    SchemaLookup::Missing(name) => return Ok(Err(name)),
                };
                match self.spec.register {
                    true => registry.register(&self.name(), &last).await.map(Ok),
                    false => Ok(before.map(|known| known.id).ok_or_else(|| self.name())),
                }
            });
            match result? {
                Ok(Ok(id)) => {
                    watch.finish();
                    return Ok(id);
                }
                Ok(Err(name)) => return Err(self.missing_message(&name, &subject_schema)),
                Err(RegistryFault::Transient(why)) => {
                    watch.retry(&KafkaFault::transient(why)).map_err(|fault| self.unusable_message(&fault.message))?;
                }
                Err(RegistryFault::Incompatible(why)) => return Err(self.incompatible_error(&why)),
                Err(RegistryFault::Permanent(why)) => return Err(self.unusable_message(&why)),
            }
        }
    }

    /// Registers or only looks up the schema, after what it imports. Also returns the id of the schema itself, if it was looked up.
    async fn resolve(
        &self,
        registry: &SchemaRegistry,
        subject_schema: &SubjectSchema,
        register: bool,
    ) -> Result<SchemaLookup, RegistryFault> {
        let mut versions: HashMap<&str, i64> = HashMap::new();
        let mut last = NewSchema::default();
        for (index, file) in subject_schema.files.iter().enumerate() {
            let version =
                |name: &String| (name.clone(), name.clone(), versions.get(name.as_str()).copied().unwrap_or(1));
            let references = file.imports.iter().map(version).collect();
            let schema = NewSchema { text: file.text.clone(), kind: subject_schema.kind, references };
            if index + 1 == subject_schema.files.len() {
                last = schema;
                break;
            }
            // Other schemas import it by its name, which is its subject.
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

    /// Returns the schema as it is registered.
    fn subject_schema(&self, schema: &SchemaRef) -> Result<SubjectSchema, String> {
        let Some(protobuf) = self.protobuf else {
            let text = avro::schema_text(schema, &self.spec.record);
            let file = WrittenFile { name: String::new(), shown: text.clone(), text, imports: Vec::new() };
            return Ok(SubjectSchema { kind: None, files: vec![file] });
        };
        let definition = Definition::find(&protobuf.descriptor.content, &protobuf.message)?;
        let file = |file: DefinitionFile| WrittenFile {
            shown: format!("the definition `{}`", file.name),
            name: file.name,
            // Confluent's registry accepts this form of definitions, and its Python client sends it.
            text: STANDARD.encode(&file.bytes),
            imports: file.imports,
        };
        Ok(SubjectSchema { kind: Some("PROTOBUF"), files: definition.files.into_iter().map(file).collect() })
    }

    fn unusable_message(&self, why: &str) -> String {
        format!("the schema registry {}: {why}", self.spec.registry.url)
    }

    fn incompatible_error(&self, why: &str) -> String {
        format!(
            "the schema registry {} rejected the schema of these rows as `{}`: {why}; write columns that fit the \
             previous schema (`record` is its name), or name another `registry.subject`, or change the \
             compatibility of this one in the registry",
            self.spec.registry.url,
            self.name()
        )
    }

    fn missing_message(&self, name: &str, subject_schema: &SubjectSchema) -> String {
        let file = subject_schema.files.iter().find(|file| file.name == name).or(subject_schema.files.last());
        format!(
            "the schema registry {} does not have the schema of these rows as `{name}`, and `registry.register` is false; register it \
             there: {}",
            self.spec.registry.url,
            file.map_or("", |file| &file.shown)
        )
    }
}

/// A schema as it is registered, after those it imports.
struct SubjectSchema {
    kind: Option<&'static str>,
    files: Vec<WrittenFile>,
}

struct WrittenFile {
    name: String,
    text: String,
    /// The text for messages.
    shown: String,
    imports: Vec<String>,
}

/// The result of looking up a schema in a registry.
enum SchemaLookup {
    /// All imports exist: the schema with references to them, and its own id if it exists.
    All(NewSchema, Option<SchemaId>),
    /// An import does not exist: its name.
    Missing(String),
}

/// Runs the request on another thread: the caller may be a thread of an async runtime, which must not block on another runtime.
fn run_blocking<T: Send>(work: impl Future<Output = T> + Send) -> Result<T, String> {
    std::thread::scope(|scope| {
        let result = scope.spawn(|| Ok(new_runtime().map_err(|error| error.to_string())?.block_on(work)));
        result.join().unwrap_or_else(|_| Err("a thread that queried the schema registry panicked".into()))
    })
}
