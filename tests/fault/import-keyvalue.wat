;; in: load
;; says: wasi:keyvalue/store@0.2.0
;; wit: package test:hostile;
;; wit: package wasi:keyvalue@0.2.0 { interface store { open: func() -> u32; } }
;; wit: world w { include millstream:plugin/transform@0.1.3; import wasi:keyvalue/store@0.2.0; }
(import "wasi:keyvalue/store@0.2.0" "open" (func $open (result i32)))
(func $evil (type $evil) (call $open))
