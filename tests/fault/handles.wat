;; Makes resources of its own and forgets them.
;; says: handles
;; trap: handles
;; limits: time = "20s", fuel = 10000000000
;; wit: package test:hostile;
;; wit: interface things { resource thing; keep: func(it: thing); }
;; wit: world w { include millstream:plugin/transform@0.1.3; export things; }
(import "[export]test:hostile/things" "[resource-new]thing" (func $new (param i32) (result i32)))
(func (export "test:hostile/things#[dtor]thing") (param i32))
(func (export "test:hostile/things#keep") (param i32))
(func $evil (type $evil) (loop $on (drop (call $new (i32.const 1))) (br $on)) (unreachable))
