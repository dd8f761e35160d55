;; The last one lies beyond the data.
;; says: `offsets` ends with 2147483647, but `data` has 4 bytes
;; trap: invalid
(data (i32.const 4096) (i32 0 2 4128 1 0 0) (i32 0 0))
(data (i32.const 4128) (i32 0 0 0  1 4160 12  4224 4) (i32 0 1 0x7fffffff))
(func $evil (type $evil) (i32.const 4096))
