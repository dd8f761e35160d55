;; in: describe
;; says: `inverse` is for world `aggregate` only
;; trap: invalid
(func (export "describe") (type $describe) (i32.store (i32.const 1088) (i32.const 1)) (i32.const 1024))
