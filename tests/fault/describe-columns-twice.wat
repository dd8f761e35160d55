;; in: describe
;; says: `output` names column `value` twice
;; trap: invalid
(data (i32.const 4096) (i32 1240 5 3 0 0 1  1240 5 3 0 0 1))
(func (export "describe") (type $describe)
  (i32.store (i32.const 1060) (i32.const 4096))
  (i32.store (i32.const 1064) (i32.const 2))
  (i32.const 1024))
