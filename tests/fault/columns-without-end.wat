;; A list of 2^32 - 1 columns.
;; says: broke the component model's rules
;; trap: rules
(data (i32.const 4096) (i32 0 1 4128 0xffffffff 0 0))
(func $evil (type $evil) (i32.const 4096))
