;; All arguments lie upon each other at address 0, so it sees garbage, and returns it.
;; says: broke the component model's rules
;; rejects: all
;; trap: rules
(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0))
(func (export "process") (type $process) (i32.store (i32.const 4104) (i32.const -4)) (i32.const 4096))
(data (i32.const 4096) (i32 0 1 0 1 0 0))
