;; A type within a type within a type; its name may not be so long.
;; in: describe
;; says: its Arrow type has 300005 bytes; at most 256 are allowed
;; trap: invalid
(memory (export "memory") 8)
(data (i32.const 4096) (i32 1240 5 6 65536 300005 1))
(data (i32.const 65536) "{{60000 List(}}Int32")
(func (export "describe") (type $describe) (i32.store (i32.const 1060) (i32.const 4096)) (i32.const 1024))
