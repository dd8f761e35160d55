;; in: describe
;; says: its name has 900000 bytes; at most 256 are allowed
;; trap: invalid
(memory (export "memory") 60)
(func (export "describe") (type $describe)
  (memory.fill (i32.const 65536) (i32.const 120) (i32.const 900000))
  (i32.store (i32.const 1028) (i32.const 65536))
  (i32.store (i32.const 1032) (i32.const 900000))
  (i32.const 1024))
