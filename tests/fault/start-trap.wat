;; in: describe
;; says: it trapped: `unreachable` was reached
;; trap: trap
(start $begin)
(func $begin unreachable)
