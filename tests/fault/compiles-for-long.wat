;; A function of many values that live to its end.
;; in: load
;; says: longer to compile than
;; only: program
;; limits: compile = "100ms"
{{1000 (func (param i64) (result i64) (local {{300 i64 }}) {{300 (local.set 7 (i64.mul (local.get 7) (local.get 0))) }}(local.get 7))}}
