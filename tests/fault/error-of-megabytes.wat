;; An error that is longer than any result may be.
;; says: it returned more than the 1 MiB that its input
;; trap: output
(memory (export "memory") 60)
(data (i32.const 4096) (i32 1 2 65536 3000000))
(func $evil (type $evil) (memory.fill (i32.const 65536) (i32.const 120) (i32.const 3000000)) (i32.const 4096))
