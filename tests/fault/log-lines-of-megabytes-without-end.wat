;; Each call is long; the clock and the instructions count them all the same.
;; says: it
;; limits: time = "300ms", memory = "32MiB", log_lines = 5
(import "log" "write" (func $log (param i32 i32 i32)))
(memory (export "memory") 400)
(func $evil (type $evil)
  (loop $on (call $log (i32.const 3) (i32.const 4096) (i32.const 20000000)) (br $on))
  (unreachable))
