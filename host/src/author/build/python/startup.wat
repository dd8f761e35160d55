;; Runs before CPython starts, while a component is made. Hashes of text get a fixed seed: sets would otherwise have another
;; order in each build. And no compiled modules are written into folders.
(module
  (@dylink.0
    (mem-info (memory 43 0))
    (needed "libc.so"))
  (import "env" "memory" (memory 0))
  (import "env" "__memory_base" (global $base i32))
  (import "env" "setenv" (func $setenv (param i32 i32 i32) (result i32)))
  (data (global.get $base) "PYTHONHASHSEED\000\00PYTHONDONTWRITEBYTECODE\001\00")
  (func (export "__wasm_call_ctors")
    (drop (call $setenv
      (global.get $base)
      (i32.add (global.get $base) (i32.const 15))
      (i32.const 1)))
    (drop (call $setenv
      (i32.add (global.get $base) (i32.const 17))
      (i32.add (global.get $base) (i32.const 41))
      (i32.const 1)))))
