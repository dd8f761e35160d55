;; Fails when its result has been read.
;; says: it trapped: integer divide by zero
;; rejects: all
;; trap: trap
(func (export "post process") (param i32) (drop (i32.div_u (i32.const 1) (i32.const 0))))
(func $evil (param $rows i32) (param $columns i32) (result i32) (call $record (local.get $rows) (local.get $columns) (i32.const 1)))
