;; in: load
;; says: imports timers, which only world update supports
;; wit: package test:hostile;
;; wit: world w { include millstream:plugin/transform@0.1.3; import millstream:plugin/timers@0.1.3; }
(import "timers" "set" (func $set (param i32 i64)))
(func $evil (type $evil) (call $set (i32.const 0) (i64.const 0)) (unreachable))
