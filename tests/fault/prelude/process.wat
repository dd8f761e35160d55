;; Rows come back as they are.
(func (export "process") (type $process)
  (if (result i32) (call $bad (local.get 7))
    (then (call $evil (local.get 6) (local.get 7)))
    (else (call $record (local.get 6) (local.get 7) (local.get 8)))))
