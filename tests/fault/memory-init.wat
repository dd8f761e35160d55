;; Copies a data segment, without end.
;; says: it ran longer than its time limit
;; fuel: instructions
;; trap: time
(memory (export "memory") 8)
(data $bytes "{{200000 x}}")
(func $evil (type $evil)
  (loop $on (memory.init $bytes (i32.const 65536) (i32.const 0) (i32.const 200000)) (br $on))
  (unreachable))
