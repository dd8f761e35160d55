;; An accumulator is a count of rows.
(func (export "lift") (type $process) (local $data i32) (local $columns i32) (local $row i32)
  (if (call $bad (local.get 7)) (then (return (call $evil (local.get 6) (local.get 7)))))
  (local.set $data (call $alloc (i32.mul (local.get 6) (i32.const 8))))
  (loop $next
    (if (i32.lt_u (local.get $row) (local.get 6))
      (then
        (i64.store (i32.add (local.get $data) (i32.mul (local.get $row) (i32.const 8))) (i64.const 1))
        (local.set $row (i32.add (local.get $row) (i32.const 1)))
        (br $next))))
  (local.set $columns (call $alloc (i32.const 32)))
  (memory.fill (local.get $columns) (i32.const 0) (i32.const 32))
  (i32.store offset=24 (local.get $columns) (local.get $data))
  (i32.store offset=28 (local.get $columns) (i32.mul (local.get 6) (i32.const 8)))
  (call $record (local.get 6) (local.get $columns) (i32.const 1)))
