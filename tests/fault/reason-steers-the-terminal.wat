;; A reason that clears the screen, sets its title and tells of another stage.
;; in: nowhere
;; rejects: poison
(data (i32.const 4200) "\1b[2J\1b]0;owned\07\0d\0aerror: stage `other` failed")
(func $evil (param $rows i32) (param $columns i32) (result i32) (call $refuse (local.get $rows) (local.get $columns) (i32.const 4200) (i32.const 42)))
