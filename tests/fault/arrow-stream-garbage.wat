;; says: Arrow IPC stream
;; rejects: all
;; trap: invalid
(data (i32.const 5000) (i32 1240 5 6 5024 5 1))
(data (i32.const 5024) "Int32")
(func (export "describe") (type $describe) (i32.store (i32.const 1060) (i32.const 5000)) (i32.const 1024))
(data (i32.const 4096) (i32 0 1 4128 1 0 0) (i32 0 0))
(data (i32.const 4128) (i32 0 0 0  0 0 0  4224 16))
(data (i32.const 4224) "\ff\ff\ff\ff\ff\ff\ff\7fnonsense")
(func (export "process") (type $process) (i32.const 4096))
