;; in: describe
;; says: it ran longer than its time limit
;; fuel: instructions
;; trap: time
(func (export "describe") (type $describe) (loop $on (br $on)) (unreachable))
