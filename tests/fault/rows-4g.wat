;; 2^32 - 1 rows are promised, of a column that has none.
;; says: rows
(data (i32.const 4096) (i32 0 -1 4128 1 0 0) (i32 0 0))
(data (i32.const 4128) (i32 0 0 0  1 4160 4  4224 0) (i32 0))
(func $evil (type $evil) (i32.const 4096))
