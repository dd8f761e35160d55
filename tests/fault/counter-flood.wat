;; A hundred thousand counters.
;; in: nowhere
;; limits: time = "20s", fuel = 2000000000
(import "metrics" "add" (func $add (param i32 i32 i64)))
(data (i32.const 4096) "caaaa")
(func $evil (param $rows i32) (param $columns i32) (result i32) (local $count i32)
  (loop $on
    (i32.store (i32.const 4097)
      (i32.add (i32.const 0x61616161)
        (i32.or (i32.and (local.get $count) (i32.const 15))
          (i32.or (i32.and (i32.shl (local.get $count) (i32.const 4)) (i32.const 0x0f00))
            (i32.or (i32.and (i32.shl (local.get $count) (i32.const 8)) (i32.const 0x0f0000))
              (i32.and (i32.shl (local.get $count) (i32.const 12)) (i32.const 0x0f000000)))))))
    (call $add (i32.const 4096) (i32.const 5) (i64.const -1))
    (local.set $count (i32.add (local.get $count) (i32.const 1)))
    (br_if $on (i32.lt_u (local.get $count) (i32.const 100000))))
  (call $record (local.get $rows) (local.get $columns) (i32.const 1)))
