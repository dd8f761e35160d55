;; in: load
;; says: threads
;; form: behind
(core module (memory 1 1 shared))
