;; in: load
;; says: compile
;; only: program
;; limits: compile = "2s"
(func {{200000 block }}{{200000 end }})
