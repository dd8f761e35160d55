;; Opens standard output over and over, and forgets it.
;; says: handles
;; trap: handles
;; limits: time = "20s", fuel = 10000000000
;; wit: package test:hostile;
;; wit: package wasi:io@0.2.0 { interface streams { resource output-stream; resource input-stream; } }
;; wit: package wasi:cli@0.2.0 { interface stdout { use wasi:io/streams@0.2.0.{output-stream}; get-stdout: func() -> own<output-stream>; } }
;; wit: world w { include millstream:plugin/transform@0.1.3; import wasi:io/streams@0.2.0; import wasi:cli/stdout@0.2.0; }
(import "wasi:cli/stdout@0.2.0" "get-stdout" (func $out (result i32)))
(func $evil (type $evil) (loop $on (drop (call $out)) (br $on)) (unreachable))
