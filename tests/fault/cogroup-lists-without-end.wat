;; world: cogroup
;; says: broke the component model's rules
;; trap: rules
(func $evil (type $evil) (local $result i32)
  (local.set $result (call $cogrouped (global.get $inputs)))
  (i32.store offset=20 (local.get $result) (i32.const 0x20000000))
  (local.get $result))
