;; Only its beginning is kept, and the bad row comes to nobody's harm.
;; in: nowhere
(memory (export "memory") 60)
(func (export "describe") (type $describe)
  (memory.fill (i32.const 65536) (i32.const 120) (i32.const 900000))
  (i32.store (i32.const 1044) (i32.const 65536))
  (i32.store (i32.const 1048) (i32.const 900000))
  (i32.const 1024))
(func $evil (param $rows i32) (param $columns i32) (result i32) (call $record (local.get $rows) (local.get $columns) (i32.const 1)))
