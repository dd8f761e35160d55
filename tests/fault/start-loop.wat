;; The module's start function never ends.
;; in: describe
;; says: it ran longer than its time limit
;; fuel: instructions
;; trap: time
(start $begin)
(func $begin (loop $on (br $on)))
