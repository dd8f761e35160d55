;; name, version, doc, inputs, output, key, config-schema.
(data (i32.const 1024) (i32 0  1200 9  1210 5  1216 13  1104 2  1152 1  0 0 0  0 0))
(data (i32.const 1104) (i32 1152 1  1152 1))
