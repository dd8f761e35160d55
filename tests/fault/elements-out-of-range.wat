;; in: describe
;; says: out of bounds table access
;; trap: trap
(table 2 funcref)
(elem (i32.const 100) $nothing)
(func $nothing)
