(func (export "inverse") (type $pair) (unreachable))
