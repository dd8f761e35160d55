;; It reads what its input does not have.
;; in: describe
;; says: secret
;; only: program
(data (i32.const 4096) (i32 4128 6 3 0 0 1))
(data (i32.const 4128) "secret")
(func (export "describe") (type $describe) (i32.store (i32.const 1052) (i32.const 4096)) (i32.const 1024))
