;; in: nowhere
;; rejects: poison
(func $evil (param $rows i32) (param $columns i32) (result i32) (call $refuse (local.get $rows) (local.get $columns) (i32.const 0) (i32.const 0)))
