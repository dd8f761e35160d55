;; A table instead of memory.
;; says: tables
;; trap: tables
(table $table 1 funcref)
(func $evil (type $evil)
  (loop $on (br_if $on (i32.ne (table.grow $table (ref.null func) (i32.const 1000)) (i32.const -1))))
  (unreachable))
