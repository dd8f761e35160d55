;; in: load
;; says: exceptions
;; form: behind
(core module (tag $e) (func (throw $e)))
