;; in: load
;; says: is a core WebAssembly module, not a component
;; form: whole
(module (func (export "process")))
