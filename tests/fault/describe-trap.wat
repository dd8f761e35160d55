;; in: describe
;; says: it trapped: integer divide by zero
;; trap: trap
(func (export "describe") (type $describe) (i32.div_u (i32.const 1) (i32.const 0)))
