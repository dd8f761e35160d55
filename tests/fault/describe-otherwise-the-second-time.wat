;; It would say something else when it is asked again, if it could know.
;; in: nowhere
(func (export "describe") (type $describe)
  (i32.store (i32.const 4096) (i32.add (i32.load (i32.const 4096)) (i32.const 1)))
  (if (i32.gt_u (i32.load (i32.const 4096)) (i32.const 1)) (then (unreachable)))
  (i32.const 1024))
(func $evil (param $rows i32) (param $columns i32) (result i32)
  (if (i32.load (i32.const 4096)) (then (unreachable)))
  (call $record (local.get $rows) (local.get $columns) (i32.const 1)))
