;; says: output limit
;; trap: output
;; limits: output = "1MiB"
(memory (export "memory") 48)
(data (i32.const 4096) (i32 0 1 4128 1 0 0) (i32 0 0))
(data (i32.const 4128) (i32 0 0 0  1 4160 8  65536 3000000) (i32 0 3000000))
(func $evil (type $evil) (i32.const 4096))
