;; in: load
;; says: gc
;; form: behind
(core module (type $point (struct (field i32))) (func (drop (struct.new $point (i32.const 1)))))
