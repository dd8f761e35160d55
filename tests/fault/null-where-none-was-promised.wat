;; says: row 1 is null, but `describe` promised that none is
;; rejects: all
;; trap: invalid
(data (i32.const 5000) (i32 1240 5 3 0 0 0))
(func (export "describe") (type $describe) (i32.store (i32.const 1060) (i32.const 5000)) (i32.const 1024))
(data (i32.const 4096) (i32 0 2 4128 1 0 0) (i32 0 0))
(data (i32.const 4128) (i32 1 4224 1  1 4160 12  4224 2) (i32 0 1 2))
(data (i32.const 4224) "\01a")
(func (export "process") (type $process) (i32.const 4096))
