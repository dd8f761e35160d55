;; Calls `process` while its arguments are put in.
;; in: describe
;; says: its call stack overflowed
;; trap: stack
(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
  (call $process (i64.const 0) (i64.const 0) (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))
(func $process (export "process") (type $process) (call $again))
(func $again (result i32) (call $process (i64.const 0) (i64.const 0) (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)) (drop) (call $again))
