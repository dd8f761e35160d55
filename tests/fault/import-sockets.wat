;; in: load
;; says: wasi:sockets
;; wit: package test:hostile;
;; wit: package wasi:sockets@0.2.0 { interface network { open: func() -> u32; } }
;; wit: world w { include millstream:plugin/transform@0.1.3; import wasi:sockets/network@0.2.0; }
(import "wasi:sockets/network@0.2.0" "open" (func $open (result i32)))
(func $evil (type $evil) (call $open))
