;; Two functions that call each other.
;; says: its call stack overflowed
;; trap: stack
(func $first (param i32) (result i32) (i32.add (call $second (local.get 0)) (i32.const 1)))
(func $second (param i32) (result i32) (i32.mul (call $first (local.get 0)) (i32.const 3)))
(func $evil (param $rows i32) (param $columns i32) (result i32) (call $first (local.get $rows)))
