;; Ten million elements from the start.
;; in: describe
;; says: table
(table 10000000 funcref)
