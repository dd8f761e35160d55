;; Fills as much as there is, without end.
;; says: it ran longer than its time limit
;; fuel: instructions
;; trap: time
(memory (export "memory") 48)
(func $evil (type $evil)
  (loop $on (memory.fill (i32.const 65536) (i32.const 7) (i32.const 3000000)) (br $on))
  (unreachable))
