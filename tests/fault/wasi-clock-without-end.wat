;; Reads a clock until it shows a time that never comes.
;; limits: time = "300ms"
;; says: it
;; fuel: its WASI calls took longer than 20000000 instructions
;; wit: package test:hostile;
;; wit: package wasi:clocks@0.2.0 { interface monotonic-clock { now: func() -> u64; } }
;; wit: world w { include millstream:plugin/transform@0.1.3; import wasi:clocks/monotonic-clock@0.2.0; }
(import "wasi:clocks/monotonic-clock@0.2.0" "now" (func $now (result i64)))
(func $evil (type $evil) (loop $on (br_if $on (i64.lt_u (call $now) (i64.const -1)))) (unreachable))
