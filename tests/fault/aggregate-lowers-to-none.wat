;; world: aggregate
;; says: the rows: 0 rows instead of
;; rejects: stop
;; trap: invalid
(func (export "lower") (type $pair) (call $record (i32.const 0) (local.get 10) (local.get 11)))
(func (export "lift") (type $process) (call $record (local.get 6) (call $counts (local.get 6)) (i32.const 1)))
(func $counts (param $rows i32) (result i32)
  (i32.store (i32.const 4120) (i32.const 8192))
  (i32.store (i32.const 4124) (i32.mul (local.get $rows) (i32.const 8)))
  (i32.const 4096))
