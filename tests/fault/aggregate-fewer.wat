;; Fewer accumulators than rows.
;; world: aggregate
;; says: the accumulators: 0 rows instead of
;; trap: invalid
(func $evil (type $evil) (call $record (i32.const 0) (i32.const 4096) (i32.const 1)))
