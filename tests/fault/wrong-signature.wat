;; in: load
;; says: has another type
;; wit: package millstream:plugin@0.1.1;
;; wit: interface transformer { describe: func() -> u32; process: func() -> u32; }
;; wit: world w { export transformer; }
(func (export "millstream:plugin/transformer@0.1.1#describe") (result i32) (i32.const 0))
(func (export "millstream:plugin/transformer@0.1.1#process") (result i32) (i32.const 0))
