;; Sleeps an hour, which is over at once.
;; in: nowhere
;; wit: package test:hostile;
;; wit: package wasi:io@0.2.0 { interface poll { resource pollable { block: func(); } poll: func(in: list<borrow<pollable>>) -> list<u32>; } }
;; wit: package wasi:clocks@0.2.0 { interface monotonic-clock { use wasi:io/poll@0.2.0.{pollable}; subscribe-duration: func(when: u64) -> own<pollable>; } }
;; wit: world w { include millstream:plugin/transform@0.1.3; import wasi:io/poll@0.2.0; import wasi:clocks/monotonic-clock@0.2.0; }
(import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $subscribe (param i64) (result i32)))
(import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
(import "wasi:io/poll@0.2.0" "[resource-drop]pollable" (func $drop (param i32)))
(func $evil (param $rows i32) (param $columns i32) (result i32) (local $pollable i32)
  (local.set $pollable (call $subscribe (i64.const 3600000000000)))
  (call $block (local.get $pollable))
  (call $drop (local.get $pollable))
  (call $record (local.get $rows) (local.get $columns) (i32.const 1)))
