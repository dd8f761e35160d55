;; world: cogroup
;; says: `rejections` has 1 lists for 2 inputs
;; trap: invalid
(func $evil (type $evil) (local $result i32)
  (local.set $result (call $cogrouped (global.get $inputs)))
  (i32.store offset=20 (local.get $result) (i32.const 1))
  (local.get $result))
