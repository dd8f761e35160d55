;; says: it trapped: out of bounds memory access
;; fuel: instructions
(func $evil (type $evil) (memory.copy (i32.const 0) (i32.const 65536) (i32.const -1)) (unreachable))
