;; Looks for variables, arguments and a home, and finds none.
;; in: nowhere
;; wit: package test:hostile;
;; wit: package wasi:cli@0.2.0 { interface environment { get-environment: func() -> list<tuple<string, string>>; get-arguments: func() -> list<string>; } }
;; wit: world w { include millstream:plugin/transform@0.1.3; import wasi:cli/environment@0.2.0; }
(import "wasi:cli/environment@0.2.0" "get-environment" (func $environment (param i32)))
(import "wasi:cli/environment@0.2.0" "get-arguments" (func $arguments (param i32)))
(func $evil (param $rows i32) (param $columns i32) (result i32)
  (call $environment (i32.const 4128))
  (call $arguments (i32.const 4144))
  (if (i32.or (i32.load (i32.const 4132)) (i32.load (i32.const 4148))) (then (unreachable)))
  (call $record (local.get $rows) (local.get $columns) (i32.const 1)))
