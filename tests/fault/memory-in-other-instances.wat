;; Many memories, each of them within the limit.
;; in: describe
;; says: memory
;; trap: memory
;; form: behind
(core module $other (memory 20))
{{8 (core instance (instantiate $other))}}
