;; The last character lacks its end.
;; says: row 0 is not UTF-8
;; trap: invalid
(data (i32.const 4096) (i32 0 1 4128 1 0 0) (i32 0 0))
(data (i32.const 4128) (i32 0 0 0  1 4160 8  4224 4) (i32 0 4))
(data (i32.const 4224) "ab\e2\82")
(func $evil (type $evil) (i32.const 4096))
