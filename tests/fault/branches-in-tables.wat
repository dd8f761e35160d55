;; Many tables of many branches, in many blocks.
;; says: it trapped: `unreachable` was reached
;; trap: trap
;; only: program
(func (param i32) {{2000 block }}{{200 (br_table {{1000 0 }}(local.get 0)) }}{{2000 end }})
