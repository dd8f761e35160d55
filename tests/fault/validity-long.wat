;; says: `validity` is a bitmap of 2 bytes, but 8 rows need 1
;; trap: invalid
(data (i32.const 4096) (i32 0 8 4128 1 0 0) (i32 0 0))
(data (i32.const 4128) (i32 1 4224 2  1 4160 36  4224 0) (i32 0 0 0 0 0 0 0 0 0))
(func $evil (type $evil) (i32.const 4096))
