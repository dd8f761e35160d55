;; says: broke the component model's rules
;; trap: rules
(data (i32.const 4096) (i32 1 4 4096 4))
(func $evil (type $evil) (i32.const 4096))
