;; What all cases share. A case stands in front of this text, in the same module.
(type $describe (func (param i32 i32 i32 i32) (result i32)))
(type $process (func (param i64 i64 i32 i64 i32 i32 i32 i32 i32) (result i32)))
(type $pair (func (param i64 i64 i32 i64 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
(type $update (func (param i32) (result i32)))
(type $cogroup (func (param i64 i64 i32 i64 i32 i32 i32 i32 i32 i32 i32) (result i32)))
;; What a case does with the rows of a call, one of which is bad: it returns the address of a result, or never.
(type $evil (func (param $rows i32) (param $columns i32) (result i32)))

;; Cases have the memory from 4096 to 65536 for themselves.
(global $next (mut i32) (i32.const 65536))

;; The next free bytes, at a multiple of 8.
(func $alloc (param $bytes i32) (result i32) (local $at i32) (local $missing i32)
  (local.set $at (global.get $next))
  (global.set $next
    (i32.and (i32.add (i32.add (local.get $at) (local.get $bytes)) (i32.const 7)) (i32.const -8)))
  (local.set $missing (i32.sub (i32.shr_u (i32.add (global.get $next) (i32.const 65535)) (i32.const 16)) (memory.size)))
  (if (i32.gt_s (local.get $missing) (i32.const 0))
    (then (if (i32.eq (memory.grow (local.get $missing)) (i32.const -1)) (then (unreachable)))))
  (local.get $at))

;; Whether a row of the first column holds an exclamation mark.
(func $bad (param $columns i32) (result i32) (local $at i32) (local $end i32)
  (local.set $at (i32.load offset=24 (local.get $columns)))
  (local.set $end (i32.add (local.get $at) (i32.load offset=28 (local.get $columns))))
  (block $done
    (loop $next
      (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
      (if (i32.eq (i32.load8_u (local.get $at)) (i32.const 33)) (then (return (i32.const 1))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br $next)))
  (i32.const 0))

;; A good result: these rows and columns, and no row refused.
(func $record (param $rows i32) (param $columns i32) (param $count i32) (result i32) (local $at i32)
  (local.set $at (call $alloc (i32.const 24)))
  (i32.store (local.get $at) (i32.const 0))
  (i32.store offset=4 (local.get $at) (local.get $rows))
  (i32.store offset=8 (local.get $at) (local.get $columns))
  (i32.store offset=12 (local.get $at) (local.get $count))
  (i64.store offset=16 align=4 (local.get $at) (i64.const 0))
  (local.get $at))
