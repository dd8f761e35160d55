;; in: load
;; says: is empty, not a component
;; form: file
