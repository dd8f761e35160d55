;; in: load
;; says: not a Millstream plugin: it exports nothing
;; form: whole
(component)
