;; says: it ran longer than its time limit
;; fuel: instructions
;; trap: time
;; limits: log_lines = 5
(import "log" "write" (func $log (param i32 i32 i32)))
(data (i32.const 4096) "a line of the log")
(func $evil (type $evil)
  (loop $on (call $log (i32.const 3) (i32.const 4096) (i32.const 17)) (br $on))
  (unreachable))
