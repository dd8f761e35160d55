;; in: describe
;; says: broke the component model's rules
;; trap: rules
(data (i32.const 4096) "\ff\fe\fd\fc")
(func (export "describe") (type $describe) (i32.store (i32.const 1028) (i32.const 4096)) (i32.store (i32.const 1032) (i32.const 4)) (i32.const 1024))
