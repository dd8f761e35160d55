;; world: update
;; says: `kept` is a bitmap of 1000 bytes
;; trap: invalid
(func $evil (type $evil) (local $result i32)
  (local.set $result (call $updated (global.get $arguments)))
  (i32.store offset=20 (local.get $result) (i32.const 1000))
  (local.get $result))
