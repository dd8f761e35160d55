;; Few calls, of a large frame each.
;; says: its call stack overflowed
;; trap: stack
(func $deep (param i64) (result i64) (local {{1000 i64 }})
  {{200 (local.set 7 (i64.add (local.get 0) (local.get 9)))}}
  (i64.add (call $deep (i64.add (local.get 0) (local.get 7))) (local.get 5)))
(func $evil (type $evil) (i32.wrap_i64 (call $deep (i64.const 1))))
