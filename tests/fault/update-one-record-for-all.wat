;; The arguments come back as the result.
;; world: update
;; says: broke the component model's rules
;; rejects: all
;; trap: rules
(func (export "update") (type $update) (i32.store (local.get 0) (i32.const 2)) (local.get 0))
