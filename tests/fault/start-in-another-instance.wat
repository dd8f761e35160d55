;; A module behind the plugin's own, whose start function never ends.
;; in: describe
;; says: it ran longer than its time limit
;; fuel: instructions
;; trap: time
;; form: behind
(core module $other (func $begin (loop $on (br $on))) (start $begin))
(core instance (instantiate $other))
