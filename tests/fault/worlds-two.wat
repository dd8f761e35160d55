;; in: load
;; says: implements several worlds
;; wit: package test:hostile;
;; wit: world w { include millstream:plugin/transform@0.1.2; include millstream:plugin/update@0.1.2; }
(func (export "millstream:plugin/updater@0.1.2#describe") (type $describe) (unreachable))
(func (export "millstream:plugin/updater@0.1.2#update") (type $update) (unreachable))
