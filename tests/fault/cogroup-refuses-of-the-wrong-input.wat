;; A row of the second input, which has none.
;; world: cogroup
;; says: input 1: 1 of 0 rows are rejected
;; trap: invalid
(data (i32.const 4096) (i32 0 0  4112 1) (i32 0 1216 4))
(func $evil (type $evil) (local $result i32)
  (local.set $result (call $cogrouped (global.get $inputs)))
  (i32.store offset=16 (local.get $result) (i32.const 4096))
  (local.get $result))
