;; Sleeping takes no time, but it is counted.
;; limits: time = "300ms"
;; says: it
;; fuel: its WASI calls took longer than 20000000 instructions
;; wit: package test:hostile;
;; wit: package wasi:io@0.2.0 { interface poll { resource pollable { block: func(); } poll: func(in: list<borrow<pollable>>) -> list<u32>; } }
;; wit: package wasi:clocks@0.2.0 { interface monotonic-clock { use wasi:io/poll@0.2.0.{pollable}; subscribe-duration: func(when: u64) -> own<pollable>; } }
;; wit: world w { include millstream:plugin/transform@0.1.3; import wasi:io/poll@0.2.0; import wasi:clocks/monotonic-clock@0.2.0; }
(import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $subscribe (param i64) (result i32)))
(import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
(import "wasi:io/poll@0.2.0" "[resource-drop]pollable" (func $drop (param i32)))
(func $evil (type $evil) (local $pollable i32)
  (loop $on
    (local.set $pollable (call $subscribe (i64.const 3600000000000)))
    (call $block (local.get $pollable))
    (call $drop (local.get $pollable))
    (br $on))
  (unreachable))
