;; It is logged as far as it can be read.
;; in: nowhere
(import "log" "write" (func $log (param i32 i32 i32)))
(data (i32.const 4096) "\ff\fe")
(func $evil (param $rows i32) (param $columns i32) (result i32)
  (call $log (i32.const 2) (i32.const 4096) (i32.const 2))
  (call $record (local.get $rows) (local.get $columns) (i32.const 1)))
