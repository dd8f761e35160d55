;; Many tables of many branches, in many blocks.
;; in: load
;; says: compile
;; only: program
;; limits: compile = "2s"
(func (param i32) {{2000 block }}{{200 (br_table {{1000 0 }}(local.get 0)) }}{{2000 end }})
