;; Page by page, until there is no more.
;; says: it needs more memory than its limit of 4 MiB
;; trap: memory
(func $evil (type $evil)
  (loop $on (br_if $on (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
  (unreachable))
