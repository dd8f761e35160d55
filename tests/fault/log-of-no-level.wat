;; says: broke the component model's rules
;; trap: rules
(import "log" "write" (func $log (param i32 i32 i32)))
(func $evil (type $evil) (call $log (i32.const 77) (i32.const 1216) (i32.const 4)) (unreachable))
