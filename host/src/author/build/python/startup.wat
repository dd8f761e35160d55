;; A part of the component that stands beside CPython.
(module
  (@dylink.0
    (mem-info (memory 83 0))
    (needed "libc.so" "libpython3.14.so"))
  (import "env" "memory" (memory 0))
  (import "env" "__memory_base" (global $base i32))
  (import "env" "setenv" (func $setenv (param i32 i32 i32) (result i32)))
  (import "env" "PyGILState_Ensure" (func $take_lock (result i32)))
  (import "env" "PyGILState_Release" (func $give_lock (param i32)))
  (import "env" "PyRun_SimpleStringFlags" (func $run (param i32 i32) (result i32)))
  (import "env" "__wasilibc_reset_preopens" (func $forget_folders))
  (import "wasi_snapshot_preview1" "reset_adapter_state" (func $forget_files))
  (data (global.get $base)
    "PYTHONHASHSEED\000\00PYTHONDONTWRITEBYTECODE\001\00from millstream.glue import load\0aload()\00")

  ;; Runs before CPython starts, while a component is made. Hashes of text get a fixed seed: sets would otherwise have another
  ;; order in each build. And no compiled modules are written into folders.
  (func (export "__wasm_call_ctors")
    (drop (call $setenv
      (global.get $base)
      (i32.add (global.get $base) (i32.const 15))
      (i32.const 1)))
    (drop (call $setenv
      (i32.add (global.get $base) (i32.const 17))
      (i32.add (global.get $base) (i32.const 41))
      (i32.const 1))))

  ;; Lets a component that has been made without a plugin import one: 0 where that went well. Afterwards nothing may be left
  ;; of the folders and files that there were, as componentize-py leaves nothing of them.
  (func (export "millstream-load") (result i32)
    (local $lock i32)
    (local $failed i32)
    (local.set $lock (call $take_lock))
    (local.set $failed (call $run (i32.add (global.get $base) (i32.const 43)) (i32.const 0)))
    (call $give_lock (local.get $lock))
    (call $forget_files)
    (call $forget_folders)
    (local.get $failed)))
