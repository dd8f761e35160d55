;; A JSON Schema of a hundred thousand brackets.
;; in: describe
;; says: `config-schema` is not valid JSON
;; trap: invalid
(memory (export "memory") 8)
(data (i32.const 65536) "{{100000 [}}")
(func (export "describe") (type $describe)
  (i32.store (i32.const 1092) (i32.const 65536))
  (i32.store (i32.const 1096) (i32.const 100000))
  (i32.const 1024))
