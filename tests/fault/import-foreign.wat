;; in: load
;; says: evil:corp/backdoor@6.6.6
;; wit: package test:hostile;
;; wit: package evil:corp@6.6.6 { interface backdoor { open: func() -> u32; } }
;; wit: world w { include millstream:plugin/transform@0.1.3; import evil:corp/backdoor@6.6.6; }
(import "evil:corp/backdoor@6.6.6" "open" (func $open (result i32)))
(func $evil (type $evil) (call $open))
