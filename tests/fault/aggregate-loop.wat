;; world: aggregate
;; says: it ran longer than its time limit
;; fuel: instructions
;; trap: time
(func $evil (type $evil) (loop $on (br $on)) (unreachable))
