;; A result is one of two, not the eighth.
;; says: broke the component model's rules
;; trap: rules
(data (i32.const 4096) (i32 7 1 4128 0 0 0))
(func $evil (type $evil) (i32.const 4096))
