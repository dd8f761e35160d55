;; Last words that steer a terminal, many of them.
;; says: it trapped
;; trap: trap
(import "log" "write" (func $log (param i32 i32 i32)))
(data (i32.const 4096) "\1b[2J\1b]0;owned\07\0d\0aerror: another stage failed")
(func $evil (type $evil) (local $count i32)
  (loop $on
    (call $log (i32.const 3) (i32.const 4096) (i32.const 43))
    (local.set $count (i32.add (local.get $count) (i32.const 1)))
    (br_if $on (i32.lt_u (local.get $count) (i32.const 1000))))
  (i32.div_u (i32.const 1) (i32.const 0)))
