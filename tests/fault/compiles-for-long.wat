;; A function of many values that live to its end.
;; in: load
;; says: compile
;; only: program
;; limits: compile = "1s"
{{300 (func (param i64) (result i64) (local {{300 i64 }}) {{300 (local.set 7 (i64.mul (local.get 3) (local.get 0))) }}(local.get 0))}}
