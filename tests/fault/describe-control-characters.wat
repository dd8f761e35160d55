;; A name that steers a terminal.
;; in: describe
;; says: its name holds control characters
;; trap: invalid
(data (i32.const 4096) "\1b[2Jnice\0d\0a")
(func (export "describe") (type $describe)
  (i32.store (i32.const 1028) (i32.const 4096))
  (i32.store (i32.const 1032) (i32.const 10))
  (i32.const 1024))
