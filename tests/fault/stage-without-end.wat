;; Asks for its input's columns for ever, and finds the same place for them each time.
;; says: it ran longer than its time limit
;; fuel: instructions
;; trap: time
(import "stage" "input" (func $input (param i32)))
(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
  (if (i32.load (i32.const 4200)) (then (return (i32.const 40000))))
  (call $alloc (local.get 3)))
(func $evil (type $evil)
  (i32.store (i32.const 4200) (i32.const 1))
  (loop $on (call $input (i32.const 4128)) (br $on))
  (unreachable))
