;; says: row 1 is not UTF-8
;; trap: invalid
(data (i32.const 4096) (i32 0 2 4128 1 0 0) (i32 0 0))
(data (i32.const 4128) (i32 0 0 0  1 4160 12  4224 4) (i32 0 2 4))
(data (i32.const 4224) "ab\ff\fe")
(func $evil (type $evil) (i32.const 4096))
