;; Asks the host before there is an instance; what would lead there is not filled in yet.
;; in: describe
;; says: it trapped: uninitialized element
;; trap: trap
(import "log" "write" (func $log (param i32 i32 i32)))
(start $begin)
(func $begin (call $log (i32.const 0) (i32.const 1216) (i32.const 4)))
