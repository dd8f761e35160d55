;; in: nowhere
;; limits: memory = "128MiB", time = "20s", fuel = 2000000000
(import "log" "write" (func $log (param i32 i32 i32)))
(memory (export "memory") 1600)
(func $evil (param $rows i32) (param $columns i32) (result i32)
  (call $log (i32.const 2) (i32.const 4096) (i32.const 100000000))
  (call $record (local.get $rows) (local.get $columns) (i32.const 1)))
