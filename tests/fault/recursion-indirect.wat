;; A function that finds itself in a table.
;; says: its call stack overflowed
;; trap: stack
(table funcref (elem $self))
(func $self (call_indirect (i32.const 0)) (call_indirect (i32.const 0)))
(func $evil (type $evil) (call $self) (unreachable))
