;; in: describe
;; says: `output` names 10000 columns; at most 1000 are allowed
;; trap: invalid
(memory (export "memory") 60)
(func (export "describe") (type $describe)
  (i32.store (i32.const 1060) (i32.const 131072))
  (i32.store (i32.const 1064) (i32.const 10000))
  (i32.const 1024))
