;; A loop of calls into the host.
;; says: it ran longer than its time limit
;; fuel: instructions
;; trap: time
;; limits: log_lines = 3
(import "metrics" "add" (func $add (param i32 i32 i64)))
(data (i32.const 4096) "rows_seen")
(func $evil (type $evil) (loop $on (call $add (i32.const 4096) (i32.const 9) (i64.const 1)) (br $on)) (unreachable))
