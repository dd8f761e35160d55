;; in: describe
;; says: rejects its config in `describe`: xxx
;; trap: error
(memory (export "memory") 60)
(data (i32.const 4096) (i32 1 0 65536 900000))
(func (export "describe") (type $describe)
  (memory.fill (i32.const 65536) (i32.const 120) (i32.const 900000))
  (i32.const 4096))
