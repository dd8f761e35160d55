//! Rebuilds the host when the SDK or its templates change: `millstream new` writes copies of them.

fn main() {
    for folder in ["template", "src", "macros/src", "README.md", "Cargo.toml", "macros/Cargo.toml"] {
        println!("cargo::rerun-if-changed=../sdk/rust/{folder}");
    }
}
