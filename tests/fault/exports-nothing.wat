;; in: load
;; says: no Millstream plugin: it exports nothing
;; form: whole
(component)
