;; `log` as it never was.
;; in: load
;; says: log
;; form: whole
(component
  (import "millstream:plugin/log@0.1.2" (instance (export "write" (func (param "level" string) (result u32)))))
  (import "millstream:plugin/types@0.1.2" (instance))
  (instance $empty)
  (export "millstream:plugin/transformer@0.1.2" (instance $empty)))
