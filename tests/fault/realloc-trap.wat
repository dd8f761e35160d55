;; in: describe
;; says: it trapped: `unreachable` was reached
;; trap: trap
(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (unreachable))
