;; Makes handles of the host's and forgets them.
;; says: handles
;; trap: handles
;; limits: time = "20s", fuel = 10000000000
;; wit: package test:hostile;
;; wit: package wasi:io@0.2.0 { interface poll { resource pollable { block: func(); } } }
;; wit: package wasi:clocks@0.2.0 { interface monotonic-clock { use wasi:io/poll@0.2.0.{pollable}; subscribe-duration: func(when: u64) -> own<pollable>; } }
;; wit: world w { include millstream:plugin/transform@0.1.3; import wasi:io/poll@0.2.0; import wasi:clocks/monotonic-clock@0.2.0; }
(import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $subscribe (param i64) (result i32)))
(func $evil (type $evil) (loop $on (drop (call $subscribe (i64.const 1))) (br $on)) (unreachable))
