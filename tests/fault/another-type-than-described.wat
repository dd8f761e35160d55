;; Describes numbers, and returns texts.
;; says: a int64 column has no `offsets`
;; rejects: all
;; trap: invalid
(func (export "describe") (type $describe) (i32.store (i32.const 1060) (i32.const 1176)) (i32.const 1024))
(func (export "process") (type $process) (call $record (local.get 6) (local.get 7) (local.get 8)))
