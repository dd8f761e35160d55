;; Each holds two of the one before it, so that there are a million instances.
;; in: load
;; says: instances
;; only: program
;; form: behind
(component $c0 (core module $m (memory 1)) (core instance (instantiate $m)))
(component $c1 (component $in (core module $m (memory 1)) (core instance (instantiate $m))) {{1000 (instance (instantiate $in))}})
{{1000 (instance (instantiate $c1))}}
