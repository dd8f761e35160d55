;; A function straight from the host.
;; in: load
;; says: system
;; wit: package test:hostile;
;; wit: world w { include millstream:plugin/transform@0.1.3; import system: func() -> u32; }
(import "$root" "system" (func $system (result i32)))
(func $evil (type $evil) (call $system))
