;; in: load
;; says: instances
;; form: behind
(core module $other (func))
{{200 (core instance (instantiate $other))}}
