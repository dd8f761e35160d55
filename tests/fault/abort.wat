;; Says its last words, as a panic does.
;; says: panicked at src/evil.rs:6:6: no more
;; trap: trap
(import "log" "write" (func $log (param i32 i32 i32)))
(data (i32.const 4096) "panicked at src/evil.rs:6:6: no more")
(func $evil (type $evil) (call $log (i32.const 3) (i32.const 4096) (i32.const 36)) (unreachable))
