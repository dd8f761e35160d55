;; in: describe
;; says: it trapped: out of bounds memory access
;; trap: trap
(data (i32.const 131070) "abcdef")
