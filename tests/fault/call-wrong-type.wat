;; says: it trapped: indirect call type mismatch
;; trap: trap
(table funcref (elem $nothing))
(func $nothing)
(func $evil (type $evil) (call_indirect (type $evil) (local.get 0) (local.get 1) (i32.const 0)))
