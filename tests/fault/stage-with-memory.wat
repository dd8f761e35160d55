;; The same, with new memory for each answer.
;; says: it
;; fuel: it
(import "stage" "inputs" (func $inputs (param i32)))
(func $evil (type $evil)
  (loop $on (call $inputs (i32.const 4128)) (br $on))
  (unreachable))
