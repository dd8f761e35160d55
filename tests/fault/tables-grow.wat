;; Many tables, each within the limit.
;; says: tables
;; trap: tables
{{10 (table 1 funcref)}}
(func $evil (type $evil)
  {{10 (drop (table.grow 0 (ref.null func) (i32.const 9000)))(drop (table.grow 5 (ref.null func) (i32.const 9000)))}}
  (unreachable))
