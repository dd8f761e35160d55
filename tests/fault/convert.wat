;; says: it trapped: invalid conversion to integer
;; trap: trap
(func $evil (type $evil) (i32.trunc_f32_s (f32.const nan)))
