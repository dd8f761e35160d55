;; in: describe
;; says: a column of `output` is empty
;; trap: invalid
(data (i32.const 4096) (i32 1240 0 3 0 0 1))
(func (export "describe") (type $describe) (i32.store (i32.const 1060) (i32.const 4096)) (i32.const 1024))
