;; Waits for nothing at all, which would be for ever.
;; says: poll
;; wit: package test:hostile;
;; wit: package wasi:io@0.2.0 { interface poll { resource pollable { block: func(); } poll: func(in: list<borrow<pollable>>) -> list<u32>; } }
;; wit: world w { include millstream:plugin/transform@0.1.3; import wasi:io/poll@0.2.0; }
(import "wasi:io/poll@0.2.0" "poll" (func $poll (param i32 i32 i32)))
(func $evil (type $evil) (call $poll (i32.const 0) (i32.const 0) (i32.const 4128)) (unreachable))
