;; world: update
;; says: the new states: 0 rows instead of
;; trap: invalid
(func $evil (type $evil) (local $result i32)
  (local.set $result (call $updated (global.get $arguments)))
  (i32.store offset=4 (local.get $result) (i32.const 0))
  (local.get $result))
