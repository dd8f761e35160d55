;; in: load
;; says: does not compile
;; tail: 64
