;; in: nowhere
(import "metrics" "add" (func $add (param i32 i32 i64)))
(memory (export "memory") 60)
(func $evil (param $rows i32) (param $columns i32) (result i32)
  (memory.fill (i32.const 200000) (i32.const 97) (i32.const 3000000))
  (call $add (i32.const 200000) (i32.const 3000000) (i64.const 1))
  (call $record (local.get $rows) (local.get $columns) (i32.const 1)))
