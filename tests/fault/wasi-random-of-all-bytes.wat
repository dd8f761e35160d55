;; Asks for more random bytes than there is memory anywhere.
;; says: its WASI calls took longer than
;; wit: package test:hostile;
;; wit: package wasi:random@0.2.0 { interface random { get-random-bytes: func(len: u64) -> list<u8>; } }
;; wit: world w { include millstream:plugin/transform@0.1.3; import wasi:random/random@0.2.0; }
(import "wasi:random/random@0.2.0" "get-random-bytes" (func $random (param i64 i32)))
(func $evil (type $evil) (call $random (i64.const -1) (i32.const 4128)) (unreachable))
