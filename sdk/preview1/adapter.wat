;; Implements WASI 0.1 (`wasi_snapshot_preview1`) with the parts of WASI 0.2 that a Millstream host supports. `README.md` says why
;; there is a separate adapter, and what it does.
(module
  (import "wasi:cli/exit@0.2.0" "exit" (func $exit (param i32)))
  (import "wasi:cli/stdout@0.2.0" "get-stdout" (func $get_stdout (result i32)))
  (import "wasi:cli/stderr@0.2.0" "get-stderr" (func $get_stderr (result i32)))
  (import "wasi:clocks/wall-clock@0.2.0" "now" (func $wall_clock_now (param i32)))
  (import "wasi:io/streams@0.2.0" "[method]output-stream.blocking-write-and-flush"
    (func $write_and_flush (param i32 i32 i32 i32)))
  (import "wasi:random/random@0.2.0" "get-random-u64" (func $host_random (result i64)))

  ;; The memory of the program. The adapter has no memory of its own, cannot allocate any (Go's heap takes all memory growth), and
  ;; has no stack. If an import returns a record, it overwrites the first bytes, which the adapter then restores.
  (import "env" "memory" (memory 1))

  ;; Whether the program must not call imports now: in `cabi_realloc`, or after it has returned.
  (global $paused (mut i32) (i32.const 0))
  ;; The last reading of the wall clock, in nanoseconds since 1970.
  (global $wall_ns (mut i64) (i64.const 0))
  ;; The monotonic clock.
  (global $monotonic_ns (mut i64) (i64.const 1000000000))
  ;; State of the adapter's random numbers: SplitMix64.
  (global $random_state (mut i64) (i64.const 0x6d696c6c73747265))
  ;; The streams; -1: not requested yet.
  (global $stdout (mut i32) (i32.const -1))
  (global $stderr (mut i32) (i32.const -1))

  ;; Errno: 0 success, 8 badf, 28 inval, 29 io, 52 nosys, 70 spipe.

  ;; ---- In addition to WASI 0.1: the program reports when it must not call imports. The name is that of wasmtime's adapter.
  (func (export "adapter_monotonic_clock_set_paused") (param $paused i32)
    (global.set $paused (local.get $paused)))

  ;; ---- Clocks
  (func (export "clock_res_get") (param $clock i32) (param $to i32) (result i32)
    (i64.store (local.get $to) (i64.const 1000000))
    (i32.const 0))

  (func (export "clock_time_get") (param $clock i32) (param $precision i64) (param $to i32) (result i32)
    (if (i32.eqz (local.get $clock))
      (then (i64.store (local.get $to) (call $read_wall_clock)))
      (else (i64.store (local.get $to) (call $read_monotonic_clock))))
    (i32.const 0))

  (func $read_wall_clock (result i64)
    (local $first i64) (local $second i64)
    (if (i32.eqz (global.get $paused))
      (then
        (local.set $first (i64.load (i32.const 0)))
        (local.set $second (i64.load (i32.const 8)))
        (call $wall_clock_now (i32.const 0))
        (global.set $wall_ns
          (i64.add
            (i64.mul (i64.load (i32.const 0)) (i64.const 1000000000))
            (i64.load32_u (i32.const 8))))
        (i64.store (i32.const 0) (local.get $first))
        (i64.store (i32.const 8) (local.get $second))))
    (global.get $wall_ns))

  ;; Each reading is a millisecond after the previous one, as on the host. So loops that wait for time to pass end, including those
  ;; of Go's scheduler, which sleeps by reading the clock.
  (func $read_monotonic_clock (result i64)
    (global.set $monotonic_ns (i64.add (global.get $monotonic_ns) (i64.const 1000000)))
    (global.get $monotonic_ns))

  ;; ---- Sleeping: time jumps.
  (func (export "poll_oneoff") (param $in i32) (param $out i32) (param $count i32) (param $fired i32) (result i32)
    (local $at i32) (local $end i32) (local $event i32) (local $first i64) (local $when i64) (local $others i32)
    (if (i32.eqz (local.get $count)) (then (return (i32.const 28))))
    (local.set $end (i32.add (local.get $in) (i32.mul (local.get $count) (i32.const 48))))
    ;; The earliest awaited time, and whether there are other subscriptions: streams are always ready.
    (local.set $first (i64.const -1))
    (local.set $at (local.get $in))
    (loop $next
      (if (i32.load8_u offset=8 (local.get $at))
        (then (local.set $others (i32.const 1)))
        (else
          (local.set $when (call $when (local.get $at)))
          (if (i64.lt_u (local.get $when) (local.get $first)) (then (local.set $first (local.get $when))))))
      (local.set $at (i32.add (local.get $at) (i32.const 48)))
      (br_if $next (i32.lt_u (local.get $at) (local.get $end))))
    (if (i32.and (i32.eqz (local.get $others)) (i64.gt_u (local.get $first) (global.get $monotonic_ns)))
      (then
        ;; Makes times absolute, so that relative ones do not move.
        (local.set $at (local.get $in))
        (loop $next
          (i64.store offset=24 (local.get $at) (call $when (local.get $at)))
          (i32.store16 offset=40 (local.get $at) (i32.const 1))
          (i32.store offset=16 (local.get $at) (i32.const 1))
          (local.set $at (i32.add (local.get $at) (i32.const 48)))
          (br_if $next (i32.lt_u (local.get $at) (local.get $end))))
        (global.set $monotonic_ns (local.get $first))))
    (local.set $event (local.get $out))
    (local.set $at (local.get $in))
    (loop $next
      (if (i32.or
            (i32.ne (i32.load8_u offset=8 (local.get $at)) (i32.const 0))
            (i64.le_u (call $when (local.get $at)) (global.get $monotonic_ns)))
        (then
          (i64.store (local.get $event) (i64.load (local.get $at)))
          (i64.store offset=8 (local.get $event) (i64.const 0))
          (i64.store offset=16 (local.get $event) (i64.const 0))
          (i64.store offset=24 (local.get $event) (i64.const 0))
          (i32.store8 offset=10 (local.get $event) (i32.load8_u offset=8 (local.get $at)))
          (local.set $event (i32.add (local.get $event) (i32.const 32)))))
      (local.set $at (i32.add (local.get $at) (i32.const 48)))
      (br_if $next (i32.lt_u (local.get $at) (local.get $end))))
    (i32.store (local.get $fired)
      (i32.shr_u (i32.sub (local.get $event) (local.get $out)) (i32.const 5)))
    (i32.const 0))

  ;; Returns when a subscription to a clock is due, on the monotonic clock. Times of the wall clock are due immediately, since it
  ;; stands still.
  (func $when (param $subscription i32) (result i64)
    (if (i32.and (i32.load16_u offset=40 (local.get $subscription)) (i32.const 1))
      (then
        (return
          (select
            (i64.load offset=24 (local.get $subscription))
            (i64.const 0)
            (i32.load offset=16 (local.get $subscription))))))
    (i64.add (global.get $monotonic_ns) (i64.load offset=24 (local.get $subscription))))

  ;; ---- Random numbers
  (func (export "random_get") (param $to i32) (param $length i32) (result i32)
    (local $random i64)
    (block $done
      (loop $next
        (br_if $done (i32.lt_u (local.get $length) (i32.const 8)))
        (i64.store align=1 (local.get $to) (call $random))
        (local.set $to (i32.add (local.get $to) (i32.const 8)))
        (local.set $length (i32.sub (local.get $length) (i32.const 8)))
        (br $next)))
    (if (local.get $length) (then (local.set $random (call $random))))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $length)))
        (i64.store8 (local.get $to) (local.get $random))
        (local.set $random (i64.shr_u (local.get $random) (i64.const 8)))
        (local.set $to (i32.add (local.get $to) (i32.const 1)))
        (local.set $length (i32.sub (local.get $length) (i32.const 1)))
        (br $next)))
    (i32.const 0))

  (func $random (result i64)
    (local $mixed i64)
    (if (i32.eqz (global.get $paused)) (then (return (call $host_random))))
    (global.set $random_state (i64.add (global.get $random_state) (i64.const 0x9e3779b97f4a7c15)))
    (local.set $mixed (global.get $random_state))
    (local.set $mixed
      (i64.mul
        (i64.xor (local.get $mixed) (i64.shr_u (local.get $mixed) (i64.const 30)))
        (i64.const 0xbf58476d1ce4e5b9)))
    (local.set $mixed
      (i64.mul
        (i64.xor (local.get $mixed) (i64.shr_u (local.get $mixed) (i64.const 27)))
        (i64.const 0x94d049bb133111eb)))
    (i64.xor (local.get $mixed) (i64.shr_u (local.get $mixed) (i64.const 31))))

  ;; ---- Standard input, output and error
  (func (export "fd_write") (param $fd i32) (param $pieces i32) (param $count i32) (param $written i32) (result i32)
    (local $sum i32) (local $length i32)
    (if (i32.gt_u (i32.sub (local.get $fd) (i32.const 1)) (i32.const 1)) (then (return (i32.const 8))))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $count)))
        (local.set $length (i32.load offset=4 (local.get $pieces)))
        (if (call $write (local.get $fd) (i32.load (local.get $pieces)) (local.get $length))
          (then (return (i32.const 29))))
        (local.set $sum (i32.add (local.get $sum) (local.get $length)))
        (local.set $pieces (i32.add (local.get $pieces) (i32.const 8)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $next)))
    (i32.store (local.get $written) (local.get $sum))
    (i32.const 0))

  ;; Writes bytes, at most 4096 at a time. Returns 0 if all are written.
  (func $write (param $fd i32) (param $from i32) (param $length i32) (result i32)
    (local $piece i32) (local $first i64) (local $second i64) (local $failed i32)
    (if (global.get $paused) (then (return (i32.const 0))))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $length)))
        (local.set $piece
          (select (local.get $length) (i32.const 4096) (i32.lt_u (local.get $length) (i32.const 4096))))
        (local.set $first (i64.load (i32.const 0)))
        (local.set $second (i64.load (i32.const 8)))
        (call $write_and_flush (call $stream (local.get $fd)) (local.get $from) (local.get $piece) (i32.const 0))
        (local.set $failed (i32.load8_u (i32.const 0)))
        (i64.store (i32.const 0) (local.get $first))
        (i64.store (i32.const 8) (local.get $second))
        (br_if $done (local.get $failed))
        (local.set $from (i32.add (local.get $from) (local.get $piece)))
        (local.set $length (i32.sub (local.get $length) (local.get $piece)))
        (br $next)))
    (local.get $failed))

  (func $stream (param $fd i32) (result i32)
    (if (i32.eq (local.get $fd) (i32.const 1))
      (then
        (if (i32.eq (global.get $stdout) (i32.const -1)) (then (global.set $stdout (call $get_stdout))))
        (return (global.get $stdout))))
    (if (i32.eq (global.get $stderr) (i32.const -1)) (then (global.set $stderr (call $get_stderr))))
    (global.get $stderr))

  ;; Standard input is empty.
  (func (export "fd_read") (param $fd i32) (param i32 i32) (param $read i32) (result i32)
    (if (local.get $fd) (then (return (i32.const 8))))
    (i32.store (local.get $read) (i32.const 0))
    (i32.const 0))

  ;; A character device that can be read and written but not seeked: a terminal, so that C writes line by line.
  (func (export "fd_fdstat_get") (param $fd i32) (param $to i32) (result i32)
    (if (i32.gt_u (local.get $fd) (i32.const 2)) (then (return (i32.const 8))))
    (i64.store (local.get $to) (i64.const 2))
    (i64.store offset=8 (local.get $to) (i64.const 0x42))
    (i64.store offset=16 (local.get $to) (i64.const 0))
    (i32.const 0))

  (func (export "fd_filestat_get") (param $fd i32) (param $to i32) (result i32)
    (if (i32.gt_u (local.get $fd) (i32.const 2)) (then (return (i32.const 8))))
    (memory.fill (local.get $to) (i32.const 0) (i32.const 64))
    (i32.store8 offset=16 (local.get $to) (i32.const 2))
    (i32.const 0))

  (func $standard (param $fd i32) (result i32)
    (select (i32.const 8) (i32.const 0) (i32.gt_u (local.get $fd) (i32.const 2))))
  (func (export "fd_close") (param $fd i32) (result i32) (call $standard (local.get $fd)))
  (func (export "fd_sync") (param $fd i32) (result i32) (call $standard (local.get $fd)))
  (func (export "fd_datasync") (param $fd i32) (result i32) (call $standard (local.get $fd)))
  (func (export "fd_fdstat_set_flags") (param $fd i32) (param i32) (result i32) (call $standard (local.get $fd)))
  (func (export "fd_seek") (param $fd i32) (param i64 i32 i32) (result i32)
    (select (i32.const 8) (i32.const 70) (i32.gt_u (local.get $fd) (i32.const 2))))
  (func (export "fd_tell") (param $fd i32) (param i32) (result i32)
    (select (i32.const 8) (i32.const 70) (i32.gt_u (local.get $fd) (i32.const 2))))

  ;; ---- No arguments and no environment
  (func $none (param $count i32) (param $bytes i32) (result i32)
    (i32.store (local.get $count) (i32.const 0))
    (i32.store (local.get $bytes) (i32.const 0))
    (i32.const 0))
  (func (export "args_sizes_get") (param i32 i32) (result i32) (call $none (local.get 0) (local.get 1)))
  (func (export "args_get") (param i32 i32) (result i32) (i32.const 0))
  (func (export "environ_sizes_get") (param i32 i32) (result i32) (call $none (local.get 0) (local.get 1)))
  (func (export "environ_get") (param i32 i32) (result i32) (i32.const 0))

  ;; ---- Exit. A program that exits because of an internal error (Go: 2) has printed the reason to standard error.
  (func (export "proc_exit") (param $code i32)
    (if (i32.or (i32.ne (local.get $code) (i32.const 2)) (i32.eq (global.get $stderr) (i32.const -1)))
      (then
        ;; WASI 0.2 has no codes, only success and failure.
        (if (i32.gt_u (local.get $code) (i32.const 1)) (then (call $say_code (local.get $code))))
        (call $exit (i32.ne (local.get $code) (i32.const 0)))))
    unreachable)

  ;; Writes the line `exit code 3` to standard error. The program no longer needs its memory.
  (func $say_code (param $code i32)
    (local $at i32)
    (i32.store8 (i32.const 48) (i32.const 10))
    (local.set $at (i32.const 48))
    (loop $next
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (i32.store8 (local.get $at) (i32.add (i32.const 48) (i32.rem_u (local.get $code) (i32.const 10))))
      (local.set $code (i32.div_u (local.get $code) (i32.const 10)))
      (br_if $next (local.get $code)))
    ;; `exit cod` and `e ` before at most ten digits.
    (local.set $at (i32.sub (local.get $at) (i32.const 10)))
    (i64.store align=1 (local.get $at) (i64.const 0x646f632074697865))
    (i32.store16 offset=8 align=1 (local.get $at) (i32.const 0x2065))
    (drop (call $write (i32.const 2) (local.get $at) (i32.sub (i32.const 49) (local.get $at)))))
  (func (export "proc_raise") (param i32) (result i32) unreachable)
  (func (export "sched_yield") (result i32) (i32.const 0))

  ;; ---- No files, directories and sockets: there are no such descriptors.
  (func (export "fd_advise") (param i32 i64 i64 i32) (result i32) (i32.const 8))
  (func (export "fd_allocate") (param i32 i64 i64) (result i32) (i32.const 8))
  (func (export "fd_fdstat_set_rights") (param i32 i64 i64) (result i32) (i32.const 8))
  (func (export "fd_filestat_set_size") (param i32 i64) (result i32) (i32.const 8))
  (func (export "fd_filestat_set_times") (param i32 i64 i64 i32) (result i32) (i32.const 8))
  (func (export "fd_pread") (param i32 i32 i32 i64 i32) (result i32) (i32.const 8))
  (func (export "fd_prestat_get") (param i32 i32) (result i32) (i32.const 8))
  (func (export "fd_prestat_dir_name") (param i32 i32 i32) (result i32) (i32.const 8))
  (func (export "fd_pwrite") (param i32 i32 i32 i64 i32) (result i32) (i32.const 8))
  (func (export "fd_readdir") (param i32 i32 i32 i64 i32) (result i32) (i32.const 8))
  (func (export "fd_renumber") (param i32 i32) (result i32) (i32.const 8))
  (func (export "path_create_directory") (param i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_filestat_get") (param i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_filestat_set_times") (param i32 i32 i32 i32 i64 i64 i32) (result i32) (i32.const 8))
  (func (export "path_link") (param i32 i32 i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_open") (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32) (i32.const 8))
  (func (export "path_readlink") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_remove_directory") (param i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_rename") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_symlink") (param i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_unlink_file") (param i32 i32 i32) (result i32) (i32.const 8))
  (func (export "sock_accept") (param i32 i32 i32) (result i32) (i32.const 8))
  (func (export "sock_recv") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "sock_send") (param i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "sock_shutdown") (param i32 i32) (result i32) (i32.const 8)))
