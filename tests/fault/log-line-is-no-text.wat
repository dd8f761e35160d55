;; says: broke the component model's rules
;; trap: rules
(import "log" "write" (func $log (param i32 i32 i32)))
(data (i32.const 4096) "\ff\fe")
(func $evil (type $evil) (call $log (i32.const 2) (i32.const 4096) (i32.const 2)) (unreachable))
