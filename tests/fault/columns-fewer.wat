;; says: 0 columns, but `describe` promised 1
;; trap: invalid
(data (i32.const 4096) (i32 0 1 4128 0 0 0) (i32 0 0))
(func $evil (type $evil) (i32.const 4096))
