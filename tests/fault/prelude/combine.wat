;; Adds the left counts to the right ones, in place.
(func (export "combine") (type $pair) (local $left i32) (local $right i32) (local $end i32)
  (local.set $left (i32.load offset=24 (local.get 7)))
  (local.set $right (i32.load offset=24 (local.get 10)))
  (local.set $end (i32.add (local.get $right) (i32.load offset=28 (local.get 10))))
  (loop $next
    (if (i32.lt_u (local.get $right) (local.get $end))
      (then
        (i64.store (local.get $right) (i64.add (i64.load (local.get $right)) (i64.load (local.get $left))))
        (local.set $left (i32.add (local.get $left) (i32.const 8)))
        (local.set $right (i32.add (local.get $right) (i32.const 8)))
        (br $next))))
  (call $record (local.get 9) (local.get 10) (local.get 11)))
