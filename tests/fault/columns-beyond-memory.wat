;; The list of columns lies behind the end of memory.
;; says: broke the component model's rules
;; trap: rules
(data (i32.const 4096) (i32 0 1 0x7fffff00 1 0 0))
(func $evil (type $evil) (i32.const 4096))
