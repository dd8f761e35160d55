;; A function of the component model that runs beside its caller.
;; in: load
;; says: async
;; form: behind
(core module $m (func (export "f")))
(core instance $i (instantiate $m))
(type (future u32))
