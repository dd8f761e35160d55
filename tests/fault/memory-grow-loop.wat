;; Asks for ever, and is never content with the answer.
;; says: it ran longer than its time limit
;; fuel: instructions
;; trap: time
(func $evil (type $evil) (loop $on (drop (memory.grow (i32.const 65535))) (br $on)) (unreachable))
