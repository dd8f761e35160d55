;; in: describe
;; says: it ran longer than its time limit
;; fuel: instructions
;; trap: time
(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (loop $on (br $on)) (unreachable))
