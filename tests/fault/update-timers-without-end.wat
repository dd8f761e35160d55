;; world: update
;; says: it sets or cancels more than 1000000 timers in one call
;; trap: invalid
;; limits: time = "20s", fuel = 1000000000
(import "timers" "cancel" (func $cancel (param i32 i64)))
(func $evil (type $evil) (local $count i32)
  (loop $on
    (call $cancel (i32.const 0) (i64.extend_i32_u (local.get $count)))
    (local.set $count (i32.add (local.get $count) (i32.const 1)))
    (br_if $on (i32.lt_u (local.get $count) (i32.const 1000001))))
  (call $updated (global.get $arguments)))
