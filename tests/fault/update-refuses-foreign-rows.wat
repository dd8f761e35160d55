;; world: update
;; says: rejected
;; trap: invalid
(data (i32.const 4096) (i32 1000 1216 4))
(func $evil (type $evil) (local $result i32)
  (local.set $result (call $updated (global.get $arguments)))
  (i32.store offset=36 (local.get $result) (i32.const 4096))
  (i32.store offset=40 (local.get $result) (i32.const 1))
  (local.get $result))
