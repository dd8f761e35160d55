;; Four gigabytes from the start.
;; in: describe
;; says: memory
;; trap: memory
(memory (export "memory") 65536)
