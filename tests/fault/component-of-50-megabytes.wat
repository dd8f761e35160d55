;; Large, but within the limit.
;; in: nowhere
(@custom "padding" "{{50000000 x}}")
(func $evil (param $rows i32) (param $columns i32) (result i32) (call $record (local.get $rows) (local.get $columns) (i32.const 1)))
