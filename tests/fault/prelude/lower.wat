(func (export "lower") (type $pair) (call $record (local.get 9) (local.get 10) (local.get 11)))
