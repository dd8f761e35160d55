;; Rows without columns take no memory, however many they are.
;; says: rows
;; rejects: all
;; trap: output
(func (export "describe") (type $describe) (i32.store (i32.const 1064) (i32.const 0)) (i32.const 1024))
(data (i32.const 4096) (i32 0 -1 0 0 0 0))
(func (export "process") (type $process) (i32.const 4096))
