;; Page by page, and each is written to.
;; says: it needs more memory than its limit of 4 MiB
;; trap: memory
(func $evil (type $evil)
  (loop $on
    (memory.fill (i32.mul (memory.grow (i32.const 1)) (i32.const 65536)) (i32.const 7) (i32.const 65536))
    (br $on))
  (unreachable))
