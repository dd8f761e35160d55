;; Ends its process, as it thinks.
;; says: exit
;; wit: package test:hostile;
;; wit: package wasi:cli@0.2.0 { interface exit { exit: func(status: result); } }
;; wit: world w { include millstream:plugin/transform@0.1.3; import wasi:cli/exit@0.2.0; }
(import "wasi:cli/exit@0.2.0" "exit" (func $exit (param i32)))
(func $evil (type $evil) (call $exit (i32.const 0)) (unreachable))
