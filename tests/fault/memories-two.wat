;; A module with two memories; both count.
;; in: describe
;; says: memory
;; trap: memory
;; form: behind
(core module $two (memory 40) (memory 40))
(core instance (instantiate $two))
