//! A package as a registry serves it, and the pieces of it that attacks change.

use millstream_tests::{LyingRequest, LyingResponse, plugin};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The package that all attacks are about: a plugin of this checkout.
pub const NAME: &str = "split-words";
pub const VERSION: &str = "0.1.0";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const SIGNATURE: &str = "application/vnd.millstream.signature.v1+json";

/// A registry's data of the package.
#[derive(Clone)]
pub struct Goods {
    pub manifest: Vec<u8>,
    pub config: Vec<u8>,
    pub component: Vec<u8>,
    pub signatures: Vec<Vec<u8>>,
}

pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The descriptor of some bytes.
fn descriptor(kind: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": kind, "digest": digest(bytes), "size": bytes.len() })
}

impl Goods {
    /// As `millstream push` would have made it.
    pub fn honest() -> Goods {
        Goods::of(std::fs::read(plugin(NAME).join(format!("{NAME}.wasm"))).expect("it is built"))
    }

    /// A package of this component.
    pub fn of(component: Vec<u8>) -> Goods {
        let config = json!({
            "created": "1970-01-01T00:00:00Z", "architecture": "wasm", "os": "wasip2",
            "layerDigests": [digest(&component)], "component": { "exports": [], "imports": [], "target": null },
        });
        let config = config.to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": descriptor("application/vnd.wasm.config.v0+json", &config),
            "layers": [descriptor("application/wasm", &component)],
            "annotations": { "org.opencontainers.image.title": format!("{NAME}-{VERSION}.wasm") },
        });
        Goods { manifest: manifest.to_string().into_bytes(), config, component, signatures: Vec::new() }
    }

    /// With another manifest.
    pub fn manifest(mut self, manifest: impl Into<Vec<u8>>) -> Goods {
        self.manifest = manifest.into();
        self
    }

    /// With a value of the manifest replaced, by its JSON pointer; `/-` is the position after the last element of a list.
    pub fn with(self, pointer: &str, value: Value) -> Goods {
        let mut manifest: Value = serde_json::from_slice(&self.manifest).expect("JSON");
        let (parent, key) = pointer.rsplit_once('/').expect("a place");
        match manifest.pointer_mut(parent).unwrap_or_else(|| panic!("no place {pointer}")) {
            Value::Array(values) if key == "-" => values.push(value),
            Value::Array(values) => values[key.parse::<usize>().expect("a number")] = value,
            Value::Object(entries) => drop(entries.insert(key.to_owned(), value)),
            _ => panic!("no place {pointer}"),
        }
        self.manifest(manifest.to_string())
    }

    /// Adds a signature.
    pub fn signed(mut self, signature: Vec<u8>) -> Goods {
        self.signatures.push(signature);
        self
    }

    /// The manifest of a signature.
    fn referrer(&self, signature: &[u8]) -> Vec<u8> {
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": SIGNATURE,
            "config": descriptor("application/vnd.oci.empty.v1+json", b"{}"),
            "layers": [descriptor(SIGNATURE, signature)],
            "subject": descriptor(MANIFEST, &self.manifest),
        });
        manifest.to_string().into_bytes()
    }

    fn referrers(&self) -> Value {
        let entry = |signature: &Vec<u8>| {
            let mut entry = descriptor(MANIFEST, &self.referrer(signature));
            entry["artifactType"] = json!(SIGNATURE);
            entry
        };
        let entries: Vec<Value> = self.signatures.iter().map(entry).collect();
        json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries })
    }

    /// The response of an honest registry.
    pub fn answer(&self, request: &LyingRequest) -> LyingResponse {
        let path = request.path.split('?').next().unwrap_or_default();
        if path == "/v2/" || path == "/v2" {
            return LyingResponse::new(200, "application/json", b"{}");
        }
        if path == "/v2/_catalog" {
            let body = json!({ "repositories": [format!("team/{NAME}")] });
            return LyingResponse::new(200, "application/json", body.to_string().as_bytes());
        }
        let Some(rest) = path.strip_prefix(&format!("/v2/team/{NAME}/")) else { return LyingResponse::missing() };
        match rest.split_once('/').unwrap_or_default() {
            ("tags", "list") => {
                let body = json!({ "name": format!("team/{NAME}"), "tags": [VERSION] });
                LyingResponse::new(200, "application/json", body.to_string().as_bytes())
            }
            ("manifests", reference) => {
                let signatures = self.signatures.iter().map(|signature| self.referrer(signature));
                let found = std::iter::once(self.manifest.clone()).chain(signatures).find(|manifest| {
                    digest(manifest) == reference || (reference == VERSION && *manifest == self.manifest)
                });
                found.map_or_else(LyingResponse::missing, |manifest| Goods::as_manifest(&manifest))
            }
            ("referrers", reference) if reference == digest(&self.manifest) => {
                LyingResponse::new(200, INDEX, self.referrers().to_string().as_bytes())
            }
            ("referrers", _) => {
                let none = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [] });
                LyingResponse::new(200, INDEX, none.to_string().as_bytes())
            }
            ("blobs", reference) => {
                let empty = b"{}".to_vec();
                let mut all = [&self.config, &self.component, &empty].into_iter().chain(&self.signatures);
                let found = all.find(|bytes| digest(bytes) == reference);
                found.map_or_else(LyingResponse::missing, |bytes| {
                    LyingResponse::new(200, "application/octet-stream", bytes)
                })
            }
            _ => LyingResponse::missing(),
        }
    }

    /// The response with this manifest.
    pub fn as_manifest(manifest: &[u8]) -> LyingResponse {
        LyingResponse::new(200, MANIFEST, manifest).with("Docker-Content-Digest", &digest(manifest))
    }

    /// Writes it as an OCI image layout below this directory, as in a directory registry.
    pub fn write(&self, registry: &std::path::Path) {
        let dir = registry.join(NAME);
        let blobs = dir.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).expect("a folder");
        let referrers: Vec<Vec<u8>> = self.signatures.iter().map(|signature| self.referrer(signature)).collect();
        let mut entry = descriptor(MANIFEST, &self.manifest);
        entry["annotations"] = json!({ "org.opencontainers.image.ref.name": VERSION });
        let mut entries = vec![entry];
        entries.extend(self.referrers()["manifests"].as_array().expect("a list").clone());
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries });
        let empty = b"{}".to_vec();
        let all = [&self.manifest, &self.config, &self.component, &empty].into_iter();
        for bytes in all.chain(&self.signatures).chain(&referrers) {
            std::fs::write(blobs.join(&digest(bytes)["sha256:".len()..]), bytes).expect("a file");
        }
        std::fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("a file");
        std::fs::write(dir.join("index.json"), index.to_string()).expect("a file");
    }
}
