;; A hundred thousand lines.
;; in: nowhere
;; limits: time = "20s", fuel = 1000000000, log_lines = 5
(import "log" "write" (func $log (param i32 i32 i32)))
(data (i32.const 4096) "a line of the log")
(func $evil (param $rows i32) (param $columns i32) (result i32) (local $count i32)
  (loop $on
    (call $log (i32.const 2) (i32.const 4096) (i32.const 17))
    (local.set $count (i32.add (local.get $count) (i32.const 1)))
    (br_if $on (i32.lt_u (local.get $count) (i32.const 100000))))
  (call $record (local.get $rows) (local.get $columns) (i32.const 1)))
