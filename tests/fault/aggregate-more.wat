;; More accumulators than rows.
;; world: aggregate
;; says: the accumulators: 100 rows instead of
;; trap: invalid
(func $evil (type $evil) (call $record (i32.const 100) (i32.const 4096) (i32.const 1)))
