;; says: it
;; rejects: all
(import "log" "write" (func $log (param i32 i32 i32)))
(func (export "post process") (param i32) (call $log (i32.const 3) (i32.const 1216) (i32.const 4)))
(func $evil (param $rows i32) (param $columns i32) (result i32) (call $record (local.get $rows) (local.get $columns) (i32.const 1)))
