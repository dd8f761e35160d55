;; says: `offsets` has 8 bytes, but 2 rows need 3 numbers of 4 bytes
;; trap: invalid
(data (i32.const 4096) (i32 0 2 4128 1 0 0) (i32 0 0))
(data (i32.const 4128) (i32 0 0 0  1 4160 8  4224 4) (i32 0 4))
(func $evil (type $evil) (i32.const 4096))
