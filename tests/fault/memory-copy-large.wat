;; The same with more memory.
;; says: it ran longer than its time limit
;; fuel: instructions
;; trap: time
;; limits: memory = "256MiB"
(memory (export "memory") 4000)
(func $evil (type $evil)
  (loop $on (memory.copy (i32.const 131072000) (i32.const 0) (i32.const 131072000)) (br $on))
  (unreachable))
