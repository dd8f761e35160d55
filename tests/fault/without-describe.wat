;; in: load
;; says: describe of millstream:plugin/transformer@0.1.1 is missing
;; wit: package millstream:plugin@0.1.1;
;; wit: interface transformer { process: func() -> u32; }
;; wit: world w { export transformer; }
(func (export "millstream:plugin/transformer@0.1.1#process") (result i32) (i32.const 0))
