;; Reads from the end of the world, again and again: it was granted nothing.
;; in: nowhere
;; limits: time = "20s", fuel = 1000000000
(import "files" "read" (func $read (param i32 i32 i64 i32 i32)))
(import "files" "size" (func $size (param i32 i32 i32)))
(data (i32.const 4096) "/etc/passwd")
(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
  (if (i32.eq (local.get 3) (i32.const 0)) (then (return (i32.const 8))))
  (if (i32.load (i32.const 4200)) (then (return (i32.const 40000))))
  (call $alloc (local.get 3)))
(func $evil (param $rows i32) (param $columns i32) (result i32) (local $count i32)
  (i32.store (i32.const 4200) (i32.const 1))
  (loop $on
    (call $read (i32.const 4096) (i32.const 11) (i64.const -1) (i32.const -1) (i32.const 4128))
    (call $size (i32.const 4096) (i32.const 11) (i32.const 4160))
    (if (i32.eqz (i32.load8_u (i32.const 4128))) (then (unreachable)))
    (local.set $count (i32.add (local.get $count) (i32.const 1)))
    (br_if $on (i32.lt_u (local.get $count) (i32.const 1000))))
  (call $record (local.get $rows) (local.get $columns) (i32.const 1)))
