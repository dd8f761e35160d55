;; Only its beginning is kept.
;; in: nowhere
;; rejects: poison
(memory (export "memory") 40)
(func $evil (param $rows i32) (param $columns i32) (result i32)
  (memory.fill (i32.const 1000000) (i32.const 120) (i32.const 1000000))
  (call $refuse (local.get $rows) (local.get $columns) (i32.const 1000000) (i32.const 1000000)))
