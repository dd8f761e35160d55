;; Copies a table, without end.
;; says: it ran longer than its time limit
;; fuel: instructions
;; trap: time
(table $table 50000 funcref)
(func $evil (type $evil)
  (loop $on (table.copy $table $table (i32.const 0) (i32.const 25000) (i32.const 25000)) (br $on))
  (unreachable))
