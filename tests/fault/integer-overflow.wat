;; says: it trapped: integer overflow
;; trap: trap
(func $evil (type $evil) (i32.div_s (i32.const 0x80000000) (i32.const -1)))
