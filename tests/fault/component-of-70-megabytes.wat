;; in: load
;; says: bytes; at most 67108864 are allowed
(@custom "padding" "{{70000000 x}}")
