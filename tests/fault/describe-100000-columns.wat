;; in: describe
;; says: it returned more than the 1 MiB that its input
;; trap: output
(memory (export "memory") 60)
(func (export "describe") (type $describe)
  (i32.store (i32.const 1060) (i32.const 131072))
  (i32.store (i32.const 1064) (i32.const 100000))
  (i32.const 1024))
