(func $evil (type $evil) (unreachable))
