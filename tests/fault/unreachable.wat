;; says: it trapped: `unreachable` was reached
;; trap: trap
(func $evil (type $evil) (unreachable))
