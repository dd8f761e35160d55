;; says: it trapped: integer divide by zero
;; trap: trap
(func $evil (param $rows i32) (param $columns i32) (result i32) (i32.div_s (local.get $rows) (i32.const 0)))
