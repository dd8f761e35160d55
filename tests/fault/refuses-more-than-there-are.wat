;; says: rows are rejected
;; trap: invalid
(data (i32.const 4096) (i32 0 0 4128 1 4176 1000) (i32 0 0))
(data (i32.const 4128) (i32 0 0 0  1 4160 4  4224 0) (i32 0))
(func $evil (type $evil) (i32.const 4096))
