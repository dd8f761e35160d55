;; Looks for folders, and finds none.
;; in: nowhere
;; wit: package test:hostile;
;; wit: package wasi:filesystem@0.2.0 { interface types { resource descriptor; } interface preopens { use types.{descriptor}; get-directories: func() -> list<tuple<own<descriptor>, string>>; } }
;; wit: world w { include millstream:plugin/transform@0.1.3; import wasi:filesystem/preopens@0.2.0; }
(import "wasi:filesystem/preopens@0.2.0" "get-directories" (func $folders (param i32)))
(func $evil (param $rows i32) (param $columns i32) (result i32)
  (call $folders (i32.const 4128))
  (if (i32.load (i32.const 4132)) (then (unreachable)))
  (call $record (local.get $rows) (local.get $columns) (i32.const 1)))
