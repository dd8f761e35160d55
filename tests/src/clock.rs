//! A library that stands in front of the machine's clock.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The library, made in this folder. A process that has it as `LD_PRELOAD` sees a time of day that is as many seconds off as the file says that
/// `CLOCK_OFFSET` names; the file may change while it runs.
pub fn clock_library(dir: &Path) -> PathBuf {
    let source = dir.join("clock.c");
    let code = r#"
        #define _GNU_SOURCE
        #include <fcntl.h>
        #include <stdlib.h>
        #include <time.h>
        #include <unistd.h>
        #include <sys/syscall.h>
        int clock_gettime(clockid_t clock, struct timespec *at) {
            int failed = syscall(SYS_clock_gettime, clock, at);
            const char *path = clock == CLOCK_REALTIME ? getenv("CLOCK_OFFSET") : NULL;
            if (failed || !path) return failed;
            char text[32] = {0};
            int file = open(path, O_RDONLY);
            if (file < 0) return 0;
            if (read(file, text, sizeof text - 1) > 0) at->tv_sec += atol(text);
            close(file);
            return 0;
        }
        "#;
    std::fs::write(&source, code).expect("a file can be written");
    let library = dir.join("clock.so");
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).output().expect("there is `cc`");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    library
}
