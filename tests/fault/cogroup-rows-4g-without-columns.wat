;; Rows without columns take no memory, however many they are. Where no row is bad there is a column that nobody described.
;; rejects: all
;; world: cogroup
;; says: it returned 4294967295 rows
;; fuel: it returned
(func (export "describe") (type $describe) (i32.store (i32.const 1064) (i32.const 0)) (i32.const 1024))
(func $evil (type $evil) (local $r i32)
  (local.set $r (call $cogrouped (global.get $inputs)))
  (i32.store offset=4 (local.get $r) (i32.const -1))
  (i32.store offset=12 (local.get $r) (i32.const 0))
  (local.get $r))
