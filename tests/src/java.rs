//! Programs in Java that others wrote, or that send to a job.

use crate::root;
use std::path::Path;
use std::process::Command;

/// Returns the class path with the jars of a program. A script downloads them if they are missing.
pub fn jars(script: &str) -> String {
    let message = Command::new(root().join("scripts").join(script)).output().expect("there is a bash");
    assert!(message.status.success(), "{}", String::from_utf8_lossy(&message.stderr));
    let path = String::from_utf8_lossy(&message.stdout).trim().to_owned();
    assert!(Path::new(&path).is_dir(), "{path}");
    format!("{path}/*")
}

/// Java with this class path, that takes little memory and starts soon.
pub fn java(class_path: &str) -> Command {
    let mut java = Command::new("java");
    java.args(["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", class_path]);
    java
}
