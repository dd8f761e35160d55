;; The first one is not 0.
;; says: `offsets` begins with 2, not with 0
;; trap: invalid
(data (i32.const 4096) (i32 0 1 4128 1 0 0) (i32 0 0))
(data (i32.const 4128) (i32 0 0 0  1 4160 8  4224 4) (i32 2 4))
(func $evil (type $evil) (i32.const 4096))
