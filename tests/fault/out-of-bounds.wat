;; says: it trapped: out of bounds memory access
;; trap: trap
(func $evil (type $evil) (i32.load (i32.const -4)))
