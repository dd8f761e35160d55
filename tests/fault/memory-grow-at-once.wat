;; All that 32 bits can address.
;; says: it needs more memory than its limit of 4 MiB
;; trap: memory
(func $evil (type $evil)
  (drop (memory.grow (i32.const 65000)))
  (unreachable))
