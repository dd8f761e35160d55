use super::*;
use serde_json::{Value, json};

fn component(version: &str) -> Vec<u8> {
    let text = format!(
        "(component (instance) (export \"millstream:plugin/transformer@0.1.1\" (instance 0))
           (@custom \"component-name\" \"\\00\\06\\05shout\") (@custom \"version\" \"{version}\")
           (@custom \"description\" \"Loud\") (@custom \"licenses\" \"MIT\") (@custom \"authors\" \"Ann, Bob\"))"
    );
    wat::parse_str(text).expect("a component")
}

fn made(version: &str) -> Result<EncodedPackage> {
    let component = component(version);
    let facts = PackageFacts::read(&component, "shout.wasm").expect("facts");
    EncodedPackage::pack(component, &facts)
}

#[test]
fn a_manifest_is_the_same_each_time_and_is_read_again() {
    let one = made("1.2.3").expect("a manifest");
    assert_eq!(one.manifest, made("1.2.3").expect("again").manifest);
    assert_ne!(one.digest(), made("1.2.4").expect("another").digest());
    let layout = read(&one.manifest, "shout").expect("it can be read");
    assert_eq!(layout.layer, Blob { digest: Digest::compute(&one.component), bytes: one.component.len() as u64 });
    assert_eq!(layout.config, Blob { digest: Digest::compute(&one.config), bytes: one.config.len() as u64 });
    assert_eq!(layout.description, "Loud");

    let manifest: Value = serde_json::from_slice(&one.manifest).expect("JSON");
    assert_eq!(manifest["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.wasm.config.v0+json");
    assert_eq!(manifest["layers"].as_array().map(Vec::len), Some(1));
    assert_eq!(manifest["layers"][0]["mediaType"], "application/wasm");
    let image = "org.opencontainers.image";
    let annotations = json!({
        format!("{image}.title"): "shout-1.2.3.wasm", format!("{image}.version"): "1.2.3",
        format!("{image}.licenses"): "MIT", format!("{image}.description"): "Loud", format!("{image}.authors"): "Ann, Bob",
    });
    assert_eq!(manifest["annotations"], annotations);
    let config = oci_wasm::WasmConfig::try_from(one.config).expect("a config as oci-wasm reads it");
    assert_eq!(serde_json::to_value(&config).expect("JSON")["created"], "1970-01-01T00:00:00Z");
    assert_eq!(config.layer_digests, [Digest::compute(&one.component).to_string()]);
    let component = config.component.expect("what it exports");
    assert_eq!(component.exports, ["millstream:plugin/transformer@0.1.1"]);
    assert_eq!(component.target.as_deref(), Some("millstream:plugin/transform@0.1.1"));
}

#[test]
fn names_and_versions_must_fit_registries() {
    for version in ["1.0", "1.0.0+today", "", "../1.0.0"] {
        let error = made(version).expect_err(version);
        assert!(error.message.contains("needs a name and a version that registries accept"), "{error}");
    }
}

#[test]
fn what_is_no_package_is_refused() {
    let good: Value = serde_json::from_slice(&made("1.2.3").expect("a manifest").manifest).expect("JSON");
    let read = |manifest: &Value| super::read(manifest.to_string().as_bytes(), "shout").map_err(|error| error.message);
    assert!(read(&good).is_ok());
    let with = |pointer: &str, value: Value| {
        let mut changed = good.clone();
        let (parent, key) = pointer.rsplit_once('/').expect("a place");
        match changed.pointer_mut(parent).expect("a place") {
            Value::Array(values) if key == "-" => values.push(value),
            Value::Array(values) => values.clear(),
            Value::Object(entries) => drop(entries.insert(key.to_owned(), value)),
            _ => panic!("no place {pointer}"),
        }
        read(&changed).expect_err(pointer)
    };
    let layer = good["layers"][0].clone();
    let title = "/annotations/org.opencontainers.image.title";
    let zip = json!("application/vnd.oci.image.layer.v1.tar+gzip");
    for (pointer, value, expected) in [
        ("/layers/-", layer, "it has 2 layers"),
        ("/layers/0", json!(null), "it has 0 layers"),
        ("/layers/0/mediaType", zip, "its layer is of type `application/vnd.oci.image.layer.v1.tar+gzip`"),
        ("/layers/0/size", json!(-1), "its layer claims to have -1 bytes"),
        ("/layers/0/size", json!(1_u64 << 40), "its layer claims to have 1099511627776 bytes; at most"),
        ("/layers/0/size", json!(1e300), "its manifest cannot be read"),
        ("/layers/0/urls", json!(["file:///etc/passwd"]), "its layer is stored elsewhere"),
        (
            "/layers/0/digest",
            json!("sha256:../../x"),
            "its layer has the digest `sha256:../../x`, which is not SHA-256",
        ),
        ("/layers/0/digest", json!(format!("sha512:{}", "0".repeat(128))), "which is not SHA-256"),
        ("/config/mediaType", json!("application/vnd.oci.image.config.v1+json"), "its config is of type"),
        ("/config/size", json!(1 << 30), "its config claims to have 1073741824 bytes"),
        ("/mediaType", json!("application/vnd.docker.distribution.manifest.v2+json"), "its manifest has the type"),
        ("/mediaType", json!("\u{1b}[2J\u{202e}"), "its manifest has the type ` [2J `"),
        ("/schemaVersion", json!(1), "its manifest is of schema version 1"),
        ("/manifests", json!([]), "it is a list of manifests"),
        (title, json!("../../.bashrc"), "its title `../../.bashrc` is not a file name"),
        (title, json!("/etc/passwd"), "is not a file name"),
        (title, json!(".."), "is not a file name"),
        (title, json!("C:\\x"), "is not a file name"),
        (title, json!("a\nb"), "is not a file name"),
        ("/annotations/x", json!("x".repeat(PACKAGE_MANIFEST_BYTES_MAX)), "its manifest has more than"),
    ] {
        let message = with(pointer, value);
        assert!(message.starts_with("shout: this is not a package: "), "{message}");
        assert!(message.contains(expected) && message.len() < 1000, "{pointer}: {message}");
    }
    for text in
        ["", "{", "[]", "null", "\u{1b}[2J", "{\"schemaVersion\":2,\"schemaVersion\":2}", "{\"config\":\"\\u001b\"}"]
    {
        let message = super::read(text.as_bytes(), "shout").expect_err(text).message;
        assert!(!message.contains('\u{1b}'), "{message:?}");
    }
    assert!(super::read("[".repeat(200_000).as_bytes(), "shout").is_err());
}
