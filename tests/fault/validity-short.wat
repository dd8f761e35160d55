;; says: `validity` is a bitmap of 1 bytes, but 9 rows need 2
;; trap: invalid
(data (i32.const 4096) (i32 0 9 4128 1 0 0) (i32 0 0))
(data (i32.const 4128) (i32 1 4224 1  1 4160 40  4224 0) (i32 0 0 0 0 0 0 0 0 0 0))
(func $evil (type $evil) (i32.const 4096))
