;; in: load
;; says: wasi:http/outgoing-handler@0.2.0
;; wit: package test:hostile;
;; wit: package wasi:http@0.2.0 { interface outgoing-handler { handle: func() -> u32; } }
;; wit: world w { include millstream:plugin/transform@0.1.3; import wasi:http/outgoing-handler@0.2.0; }
(import "wasi:http/outgoing-handler@0.2.0" "handle" (func $handle (result i32)))
(func $evil (type $evil) (call $handle))
