;; Describes numbers of 8 bytes, and returns 4 of them.
;; says: `data` has 4 bytes, but 1 rows need 8 each
;; rejects: all
;; trap: invalid
(func (export "describe") (type $describe) (i32.store (i32.const 1060) (i32.const 1176)) (i32.const 1024))
(data (i32.const 4096) (i32 0 1 4128 1 0 0) (i32 0 0))
(data (i32.const 4128) (i32 0 0 0  0 0 0  4224 4))
(func (export "process") (type $process) (i32.const 4096))
