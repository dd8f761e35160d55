;; A good result: the rows but for the bad one, which is refused for this reason. There is one bad row.
(func $refuse (param $rows i32) (param $columns i32) (param $reason i32) (param $length i32) (result i32)
  (local $offsets i32) (local $row i32) (local $bad i32) (local $result i32) (local $first i32) (local $last i32)
  (local $data i32) (local $copy i32)
  ;; The row whose bytes hold the mark.
  (local.set $offsets (i32.load offset=16 (local.get $columns)))
  (local.set $data (i32.load offset=24 (local.get $columns)))
  (local.set $copy (call $alloc (i32.const 32)))
  (block $found
    (loop $next
      (local.set $first (i32.load (i32.add (local.get $offsets) (i32.mul (local.get $row) (i32.const 4)))))
      (local.set $last (i32.load offset=4 (i32.add (local.get $offsets) (i32.mul (local.get $row) (i32.const 4)))))
      (i32.store offset=24 (local.get $copy) (i32.add (local.get $data) (local.get $first)))
      (i32.store offset=28 (local.get $copy) (i32.sub (local.get $last) (local.get $first)))
      (br_if $found (call $bad (local.get $copy)))
      (local.set $row (i32.add (local.get $row) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $row) (local.get $rows)))))
  ;; Its bytes and its offset are taken out.
  (memory.copy (i32.add (local.get $data) (local.get $first)) (i32.add (local.get $data) (local.get $last))
    (i32.sub (i32.load offset=28 (local.get $columns)) (local.get $last)))
  (i32.store offset=28 (local.get $columns)
    (i32.sub (i32.load offset=28 (local.get $columns)) (i32.sub (local.get $last) (local.get $first))))
  (local.set $bad (local.get $row))
  (loop $next
    (if (i32.lt_u (local.get $row) (local.get $rows))
      (then
        (i32.store (i32.add (local.get $offsets) (i32.mul (local.get $row) (i32.const 4)))
          (i32.sub (i32.load offset=4 (i32.add (local.get $offsets) (i32.mul (local.get $row) (i32.const 4))))
            (i32.sub (local.get $last) (local.get $first))))
        (local.set $row (i32.add (local.get $row) (i32.const 1)))
        (br $next))))
  (i32.store offset=20 (local.get $columns) (i32.mul (local.get $rows) (i32.const 4)))
  (local.set $result (call $record (i32.sub (local.get $rows) (i32.const 1)) (local.get $columns) (i32.const 1)))
  (i32.store offset=16 (local.get $result) (call $alloc (i32.const 12)))
  (i32.store offset=20 (local.get $result) (i32.const 1))
  (i32.store (i32.load offset=16 (local.get $result)) (local.get $bad))
  (i32.store offset=4 (i32.load offset=16 (local.get $result)) (local.get $reason))
  (i32.store offset=8 (i32.load offset=16 (local.get $result)) (local.get $length))
  (local.get $result))
