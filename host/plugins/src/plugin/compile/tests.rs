use super::*;
use crate::plugin::code_kind::{CodeKind, Metering};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

/// Runs a shell script instead of the compiler.
fn ended(script: &str, time_max: Duration) -> Result<Vec<u8>, String> {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("program");
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    let kind = CodeKind { metering: Metering::Epochs, stack_bytes_max: 1 << 20, compact: false };
    let order = CompileOrder { kind, key: "key".into(), time_max, functions: None };
    // Another test's process that is just being started may still have the script open for writing.
    let run = || super::run(&program, &order, &[7; 3 << 20]);
    let ended =
        std::iter::repeat_with(run).find(|run| !matches!(run, Err(e) if e.raw_os_error() == Some(libc::ETXTBSY)));
    match code(ended.unwrap().unwrap(), time_max) {
        Ok(code) => Ok(code),
        Err(CompileError::OtherCode) => Err("other code".into()),
        Err(CompileError::Failed(failure)) => Err(failure.message),
    }
}

const LONG: Duration = Duration::from_secs(60);

#[test]
fn large_inputs_and_outputs_pass_at_once() {
    // `cat` writes while it reads: whoever wrote everything first and then read would wait indefinitely.
    assert_eq!(ended("cat", LONG).unwrap(), [7; 3 << 20]);
    assert_eq!(ended("echo code", LONG).unwrap(), b"code\n", "also where the input is not read");
}

#[test]
fn each_end_has_its_words() {
    let cases = [
        ("kill -ABRT $$", "the compiler crashed on it (signal 6)"),
        ("echo; echo 'deep down' >&2; kill -SEGV $$", "crashed on it (signal 11): deep down"),
        (
            "echo 'memory allocation of 123 bytes failed' >&2; kill -ABRT $$",
            "needs more memory to compile than 3072 MiB",
        ),
        ("echo 'invalid at 3' >&2; exit 3", "does not compile: invalid at 3\n  Build it again"),
        ("exit 101", "crashed on it (exit code 101)"),
        ("exit 2", "other code"),
        ("exit 4", "other code"),
        ("kill -XCPU $$", "takes longer to compile than 60s"),
        ("kill -KILL $$", "killed by signal 9"),
    ];
    for (script, expected) in cases {
        let message = ended(script, LONG).unwrap_err();
        assert!(message.contains(expected), "{script}: expected {expected:?}, found {message:?}");
    }
}

#[test]
fn a_process_that_does_not_end_is_killed() {
    for script in ["exec sleep 1000", "exec 0<&- 1>&-; exec sleep 1000"] {
        let began = Instant::now();
        let message = ended(script, Duration::from_millis(300)).unwrap_err();
        assert!(message.starts_with("takes longer to compile than 300ms\n  Raise `limits.compile`"), "{message}");
        assert!(began.elapsed() < LONG);
    }
}
