;; A hundred thousand rows of one bit each.
;; says: rows
;; rejects: all
;; trap: output
;; limits: rows = 1000
(data (i32.const 5000) (i32 1240 5 0 0 0 1))
(func (export "describe") (type $describe) (i32.store (i32.const 1060) (i32.const 5000)) (i32.const 1024))
(data (i32.const 4096) (i32 0 100000 4128 1 0 0) (i32 0 0))
(data (i32.const 4128) (i32 0 0 0  0 0 0  16384 12500))
(func (export "process") (type $process) (i32.const 4096))
