;; in: load
;; says: memory64
;; form: behind
(core module (memory i64 1))
