;; Fills a table, without end.
;; says: it ran longer than its time limit
;; fuel: instructions
;; trap: time
(table $table 50000 funcref)
(func $evil (type $evil)
  (loop $on (table.fill $table (i32.const 0) (ref.null func) (i32.const 50000)) (br $on))
  (unreachable))
