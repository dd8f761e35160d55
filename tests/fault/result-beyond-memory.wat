;; says: broke the component model's rules
;; trap: rules
(func $evil (type $evil) (i32.const 0xfffffff0))
