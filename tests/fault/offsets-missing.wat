;; says: a text column needs `offsets`
;; trap: invalid
(data (i32.const 4096) (i32 0 1 4128 1 0 0) (i32 0 0))
(data (i32.const 4128) (i32 0 0 0  0 0 0  4224 4))
(func $evil (type $evil) (i32.const 4096))
