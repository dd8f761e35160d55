;; in: describe
;; says: its call stack overflowed
;; trap: stack
(start $begin)
(func $begin (call $begin) (call $begin))
