;; A timer for a group that is not there.
;; world: update
;; says: a timer is for group 100000, but there
;; trap: invalid
(import "timers" "set" (func $set (param i32 i64)))
(func $evil (type $evil)
  (call $set (i32.const 100000) (i64.const 0))
  (call $updated (global.get $arguments)))
