;; says: 2 columns, but `describe` promised 1
;; trap: invalid
(data (i32.const 4096) (i32 0 1 4128 2 0 0) (i32 0 0))
(data (i32.const 4128) (i32 0 0 0  1 4224 8  4232 0) (i32 0 0 0  1 4224 8  4232 0))
(func $evil (type $evil) (i32.const 4096))
