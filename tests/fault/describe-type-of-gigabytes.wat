;; Rows of nulls of this type would be gigabytes.
;; in: describe
;; says: each row of it takes 2147483647 bytes
(data (i32.const 5000) (i32 1240 5 6 5024 27 1))
(data (i32.const 5024) "FixedSizeBinary(2147483647)")
(func (export "describe") (type $describe) (i32.store (i32.const 1060) (i32.const 5000)) (i32.const 1024))
