;; Columns, each a record of name, type, nullable: `value` text and `n` int64, and their names.
(data (i32.const 1152) (i32 1240 5 3 0 0 1))
(data (i32.const 1176) (i32 1248 1 1 0 0 1))
(data (i32.const 1200) "hand-made\00")
(data (i32.const 1210) "1.2.3\00")
(data (i32.const 1216) "Made by hand.\00")
(data (i32.const 1240) "value\00\00\00n")
