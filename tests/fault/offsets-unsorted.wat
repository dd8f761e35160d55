;; says: `offsets` falls at row 1: 4 … 2
;; trap: invalid
(data (i32.const 4096) (i32 0 3 4128 1 0 0) (i32 0 0))
(data (i32.const 4128) (i32 0 0 0  1 4160 16  4224 6) (i32 0 4 2 6))
(func $evil (type $evil) (i32.const 4096))
