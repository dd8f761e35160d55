;; States for keys that are not its own.
;; world: update
;; says: the new states:
;; trap: invalid
(func $evil (type $evil) (local $result i32)
  (local.set $result (call $updated (global.get $arguments)))
  (i32.store offset=4 (local.get $result) (i32.add (i32.load offset=4 (local.get $result)) (i32.const 1)))
  (local.get $result))
