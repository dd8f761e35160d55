;; Asks for two gigabytes of random bytes.
;; says: it
;; wit: package test:hostile;
;; wit: package wasi:random@0.2.0 { interface random { get-random-bytes: func(len: u64) -> list<u8>; } }
;; wit: world w { include millstream:plugin/transform@0.1.3; import wasi:random/random@0.2.0; }
(import "wasi:random/random@0.2.0" "get-random-bytes" (func $random (param i64 i32)))
(func $evil (type $evil) (call $random (i64.const 2000000000) (i32.const 4128)) (unreachable))
