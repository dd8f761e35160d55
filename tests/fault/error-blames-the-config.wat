;; Says in a call that the job is wrong, which no row can be blamed for.
;; says: rejects its config in batch 1
;; rejects: stop
(data (i32.const 4096) (i32 1 0 4200 5))
(data (i32.const 4200) "wrong")
(func $evil (type $evil) (i32.const 4096))
