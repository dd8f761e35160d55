;; says: it ran longer than its time limit
;; fuel: instructions
;; trap: time
(import "files" "read" (func $read (param i32 i32 i64 i32 i32)))
(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
  (if (i32.load (i32.const 4200)) (then (return (i32.const 40000))))
  (call $alloc (local.get 3)))
(func $evil (type $evil)
  (i32.store (i32.const 4200) (i32.const 1))
  (loop $on (call $read (i32.const 1216) (i32.const 4) (i64.const -1) (i32.const -1) (i32.const 4128)) (br $on))
  (unreachable))
