;; Copies as much as there is, without end: time does not look into a copy.
;; says: it ran longer than its time limit
;; fuel: instructions
;; trap: time
(memory (export "memory") 48)
(func $evil (type $evil)
  (loop $on (memory.copy (i32.const 1572864) (i32.const 65536) (i32.const 1500000)) (br $on))
  (unreachable))
