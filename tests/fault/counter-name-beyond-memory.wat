;; says: broke the component model's rules
;; trap: rules
(import "metrics" "add" (func $add (param i32 i32 i64)))
(func $evil (type $evil) (call $add (i32.const -8) (i32.const 16) (i64.const 1)) (unreachable))
