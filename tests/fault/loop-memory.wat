;; A loop that writes to memory.
;; says: it ran longer than its time limit
;; fuel: instructions
;; trap: time
(func $evil (type $evil)
  (loop $on (i32.store (i32.const 4096) (i32.add (i32.load (i32.const 4096)) (i32.const 1))) (br $on))
  (unreachable))
