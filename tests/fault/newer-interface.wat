;; in: load
;; says: needs millstream:plugin@0.2.0, and this host supports
;; wit: package millstream:plugin@0.2.0;
;; wit: interface transformer { process: func() -> u32; }
;; wit: world w { export transformer; }
(func (export "millstream:plugin/transformer@0.2.0#process") (result i32) (i32.const 0))
