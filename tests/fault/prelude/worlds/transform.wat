;; The result of `describe`: name, version, doc, input, output, state, key, inverse, config-schema.
(data (i32.const 1024) (i32 0  1200 9  1210 5  1216 13  1152 1  1152 1  0 0  0 0 0  0  0 0))
