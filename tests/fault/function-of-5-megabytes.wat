;; in: load
;; says: function
;; only: program
(func {{500000 (drop (f64.const 1))}})
