(memory $memory (export "memory") 2)
