;; Pointer and length together are more than 2^32.
;; says: broke the component model's rules
;; trap: rules
(data (i32.const 4096) (i32 0 1 4128 1 0 0) (i32 0 0))
(data (i32.const 4128) (i32 0 0 0  1 4160 8  0xfffffff0 0x20))
(func $evil (type $evil) (i32.const 4096))
