;; Five rows are promised, and one is there.
;; says: `offsets` has 8 bytes, but 5 rows need 6 numbers
;; trap: invalid
(data (i32.const 4096) (i32 0 5 4128 1 0 0) (i32 0 0))
(data (i32.const 4128) (i32 0 0 0  1 4160 8  4224 1) (i32 0 1))
(func $evil (type $evil) (i32.const 4096))
