;; says: broke the component model's rules
;; trap: rules
(import "log" "write" (func $log (param i32 i32 i32)))
(func $evil (type $evil) (call $log (i32.const 2) (i32.const 65536) (i32.const -2)) (unreachable))
