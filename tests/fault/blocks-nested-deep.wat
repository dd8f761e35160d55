;; It compiles all the same, in linear time.
;; says: it trapped: `unreachable` was reached
;; trap: trap
;; only: program
(func {{200000 block }}{{200000 end }})
