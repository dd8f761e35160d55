;; A loop that calls functions, directly and through a table.
;; says: it ran longer than its time limit
;; fuel: instructions
;; trap: time
(table funcref (elem $nothing))
(func $nothing)
(func $evil (type $evil) (loop $on (call $nothing) (call_indirect (i32.const 0)) (br $on)) (unreachable))
