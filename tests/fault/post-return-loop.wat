;; says: it ran longer than its time limit
;; fuel: instructions
;; rejects: all
;; trap: time
(func (export "post process") (param i32) (loop $on (br $on)))
(func $evil (param $rows i32) (param $columns i32) (result i32) (call $record (local.get $rows) (local.get $columns) (i32.const 1)))
