;; All of it is UTF-8, but a row begins in the middle of a character.
;; says: row 1 begins within a UTF-8 character
;; trap: invalid
(data (i32.const 4096) (i32 0 2 4128 1 0 0) (i32 0 0))
(data (i32.const 4128) (i32 0 0 0  1 4160 12  4224 3) (i32 0 1 3))
(data (i32.const 4224) "\e2\82\ac")
(func $evil (type $evil) (i32.const 4096))
