//! Invalid packages, and packages with a wrong name. Each is served with matching digests.

use super::case::{Attack, check_all_rejected};
use super::goods::{Goods, NAME, VERSION, digest};
use serde_json::json;

const TITLE: &str = "/annotations/org.opencontainers.image.title";

#[test]
fn manifests_of_something_else() {
    let good = Goods::honest;
    let layer =
        |kind: &str| json!({ "mediaType": kind, "digest": digest(&good().component), "size": good().component.len() });
    let deep = format!("{{\"schemaVersion\":2,\"annotations\":{}{}}}", "[".repeat(50_000), "]".repeat(50_000));
    let twice = String::from_utf8(good().manifest).unwrap().replacen('{', "{\"layers\":[],", 1);
    let list = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
    let cases = [
        ("two layers", "2 layers", good().with("/layers/-", layer("application/wasm"))),
        ("no layer", "0 layers", good().with("/layers", json!([]))),
        (
            "a layer of files",
            "its layer is of type",
            good().with("/layers/0", layer("application/vnd.oci.image.layer.v1.tar+gzip")),
        ),
        ("a layer that is packed", "its layer is of type", good().with("/layers/0", layer("application/wasm+gzip"))),
        ("its length is negative", "-1 bytes", good().with("/layers/0/size", json!(-1))),
        ("more bytes than may be", "1099511627776 bytes; at most", good().with("/layers/0/size", json!(1_u64 << 40))),
        (
            "a byte less",
            "bytes that its manifest says",
            good().with("/layers/0/size", json!(good().component.len() - 1)),
        ),
        ("a byte more", "but its manifest says", good().with("/layers/0/size", json!(good().component.len() + 1))),
        ("a layer that is a file", "urls", good().with("/layers/0/urls", json!(["file:///etc/passwd"]))),
        (
            "a digest that is a path",
            "not SHA-256",
            good().with("/layers/0/digest", json!("sha256:../../../../etc/passwd")),
        ),
        (
            "a digest of another kind",
            "digest",
            good().with("/layers/0/digest", json!(format!("sha512:{}", "0".repeat(128)))),
        ),
        (
            "a digest in capitals",
            "digest",
            good().with("/layers/0/digest", json!(digest(&good().component).to_uppercase())),
        ),
        ("a title that leads up", "not a file name", good().with(TITLE, json!("../../../.bashrc"))),
        ("a title that leads away", "not a file name", good().with(TITLE, json!("/etc/cron.d/x"))),
        (
            "a layer whose title leads up",
            "title",
            good().with("/layers/0/annotations", json!({ &TITLE[13..]: "../x" })),
        ),
        ("an older kind of manifest", "version 1", good().with("/schemaVersion", json!(1))),
        (
            "a config of a container",
            "config",
            good().with("/config/mediaType", json!("application/vnd.oci.image.config.v1+json")),
        ),
        (
            "annotations without end",
            "a manifest of more than",
            good().with("/annotations/a", json!("x".repeat(1 << 20))),
        ),
        ("a list of manifests", "it is a list of manifests", good().manifest(list)),
        ("no JSON", "its manifest cannot be read", good().manifest("\u{1b}[2J")),
        ("deep JSON", "its manifest cannot be read", good().manifest(deep)),
        ("layers twice", "its manifest cannot be read", good().manifest(twice)),
    ];
    check_all_rejected(cases.into_iter().map(|(name, says, goods)| Attack::new(name, says).goods(goods)).collect());
}

/// A component with this metadata; `inside` is more of it, as text.
fn component(name: &str, version: &str, interface: &str, inside: &str) -> Vec<u8> {
    let length = u8::try_from(name.len()).expect("a short name");
    let bytes = [&[0, length + 1, length], name.as_bytes()].concat();
    let section: String = bytes.iter().map(|byte| format!("\\{byte:02x}")).collect();
    let version: String = version.bytes().map(|byte| format!("\\{byte:02x}")).collect();
    let text = format!(
        "(component {inside} (instance) (export \"millstream:plugin/transformer@{interface}\" (instance 0))
           (@custom \"component-name\" \"{section}\") (@custom \"version\" \"{version}\"))"
    );
    wat::parse_str(text).expect("a component")
}

#[test]
fn components_of_something_else() {
    let good = Goods::honest().component;
    let module = wat::parse_str("(module (memory 1))").unwrap();
    let cases = [
        ("a program", "not a component", b"\x7fELF\x02\x01\x01\0\0\0\0\0".repeat(100)),
        ("nothing", "is empty", Vec::new()),
        ("a module", "core WebAssembly module", module),
        ("half of a component", "unexpected end-of-file", good[..good.len() / 2].to_vec()),
        ("a component without a name", "not a Millstream plugin", wat::parse_str("(component)").unwrap()),
        ("another name", "describes itself as `other@0.1.0`", component("other", VERSION, "0.1.1", "")),
        ("another version", "describes itself as `split-words@0.2.0`", component(NAME, "0.2.0", "0.1.1", "")),
        ("a name that steers a terminal", "describes itself as", component("\u{1b}[2J", VERSION, "0.1.1", "")),
        ("a version that is a path", "describes itself as", component(NAME, "../../x", "0.1.1", "")),
        ("a plugin of the future", "0.1.99", component(NAME, VERSION, "0.1.99", "")),
        ("a plugin of another age", "needs millstream:plugin@7.0.0", component(NAME, VERSION, "7.0.0", "")),
    ];
    let attack = |(name, says, component): (&str, &str, Vec<u8>)| Attack::new(name, says).goods(Goods::of(component));
    check_all_rejected(cases.into_iter().map(attack).collect());
}
