;; A hundred columns that are the same three megabytes of memory.
;; says: output limit
;; rejects: all
;; trap: output
;; limits: output = "16MiB", expansion = 1000000000
(memory (export "memory") 60)
(func (export "describe") (type $describe) (local $count i32) (local $field i32) (local $name i32)
  (loop $next
    (local.set $field (i32.add (i32.const 20000) (i32.mul (local.get $count) (i32.const 24))))
    (local.set $name (i32.add (i32.const 30000) (i32.mul (local.get $count) (i32.const 2))))
    (i32.store8 (local.get $name) (i32.add (i32.const 97) (i32.div_u (local.get $count) (i32.const 10))))
    (i32.store8 offset=1 (local.get $name) (i32.add (i32.const 97) (i32.rem_u (local.get $count) (i32.const 10))))
    (i32.store (local.get $field) (local.get $name))
    (i32.store offset=4 (local.get $field) (i32.const 2))
    (i32.store offset=8 (local.get $field) (i32.const 4))
    (local.set $count (i32.add (local.get $count) (i32.const 1)))
    (br_if $next (i32.lt_u (local.get $count) (i32.const 100))))
  (i32.store (i32.const 1060) (i32.const 20000))
  (i32.store (i32.const 1064) (i32.const 100))
  (i32.const 1024))
(data (i32.const 4096) (i32 0 1 8192 100 0 0))
(data (i32.const 4160) (i32 0 3000000))
(func (export "process") (type $process) (local $at i32)
  (local.set $at (i32.const 8192))
  (loop $next
    (i32.store offset=12 (local.get $at) (i32.const 1))
    (i32.store offset=16 (local.get $at) (i32.const 4160))
    (i32.store offset=20 (local.get $at) (i32.const 8))
    (i32.store offset=24 (local.get $at) (i32.const 400000))
    (i32.store offset=28 (local.get $at) (i32.const 3000000))
    (local.set $at (i32.add (local.get $at) (i32.const 32)))
    (br_if $next (i32.lt_u (local.get $at) (i32.const 11392))))
  (i32.const 4096))
