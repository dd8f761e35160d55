//! A preload library that shifts the machine's clock.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds the library in this directory. A process with it in `LD_PRELOAD` sees the time of day shifted by a number of seconds,
/// read from the file that `CLOCK_OFFSET` names. The file may change while the process runs.
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
