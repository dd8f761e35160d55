;; in: load
;; says: implements several worlds
;; wit: package test:hostile;
;; wit: world w { include millstream:plugin/transform@0.1.3; include millstream:plugin/update@0.1.3; }
(func (export "millstream:plugin/updater@0.1.3#describe") (type $describe) (unreachable))
(func (export "millstream:plugin/updater@0.1.3#update") (type $update) (unreachable))
