;; in: describe
;; says: it needs more memory than its limit of 4 MiB
;; trap: memory
(start $begin)
(func $begin (if (i32.eq (memory.grow (i32.const 1000)) (i32.const -1)) (then (unreachable))))
