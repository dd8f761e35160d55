;; A bitmap for fewer keys than there are.
;; world: update
;; says: `kept` is a bitmap of 0 bytes
;; trap: invalid
(func $evil (type $evil) (local $result i32)
  (local.set $result (call $updated (global.get $arguments)))
  (i32.store offset=20 (local.get $result) (i32.const 0))
  (local.get $result))
