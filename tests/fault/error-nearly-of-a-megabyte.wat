;; An error of nearly a megabyte.
;; says: failed in batch 1
;; fuel: xxx
;; trap: error
(memory (export "memory") 60)
(data (i32.const 4096) (i32 1 2 65536 900000))
(func $evil (type $evil) (memory.fill (i32.const 65536) (i32.const 120) (i32.const 900000)) (i32.const 4096))
