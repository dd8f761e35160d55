;; in: describe
;; says: broke the component model's rules
;; trap: rules
(data (i32.const 4096) (i32 1240 5 99 0 0 1))
(func (export "describe") (type $describe) (i32.store (i32.const 1060) (i32.const 4096)) (i32.const 1024))
