;; says: it trapped: uninitialized element
;; trap: trap
(table 4 funcref)
(func $evil (type $evil) (call_indirect (i32.const 2)) (unreachable))
