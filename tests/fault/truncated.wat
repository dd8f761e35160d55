;; in: load
;; says: does not compile
;; cut: 40
