;; in: describe
;; says: `Nonsense` is not an Arrow type
;; trap: invalid
(data (i32.const 4096) (i32 1240 5 6 4128 8 1))
(data (i32.const 4128) "Nonsense")
(func (export "describe") (type $describe) (i32.store (i32.const 1060) (i32.const 4096)) (i32.const 1024))
