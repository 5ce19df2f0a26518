;; A task written by hand. The tests fill the places marked with @, so that each guest is a few lines.
(component
  (import "flowweaver:types/types@0.1.0" (instance $types
    (type $e (record
      (field "code" string) (field "message" string) (field "retryable" bool)
      (field "retry-after-ms" (option u64)) (field "details" (option string))))
    (export "error" (type (eq $e)))))
  (alias export $types "error" (type $error))
  ;;@imports

  ;; The memory stands alone, so that imported functions can be lowered into it.
  (core module $libc
    (memory (export "memory") 1)
    (global $next (mut i32) (i32.const 8192))
    (func (export "realloc") (param $old i32) (param $was i32) (param $align i32) (param $size i32) (result i32)
      (local $at i32)
      ;;@realloc
      (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
      (global.set $next (i32.add (local.get $at) (local.get $size)))
      (loop $grow
        (if (i32.gt_u (global.get $next) (i32.mul (memory.size) (i32.const 65536)))
          (then
            (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
            (br $grow))))
      (local.get $at)))
  (core instance $libc (instantiate $libc))
  (alias core export $libc "memory" (core memory $memory))
  (alias core export $libc "realloc" (core func $realloc))
  ;;@lowered

  (core module $main
    (import "libc" "memory" (memory 1))
    (import "libc" "realloc" (func $realloc (param i32 i32 i32 i32) (result i32)))
    ;;@core-imports
    (data (i32.const 64) "{}")
    (data (i32.const 128) "{\"name\":\"guest\",\"version\":\"1\",\"summary\":\"for tests\"}")
    ;;@data
    ;; result<string, error>: the discriminant at 1024, the payload from 1032.
    (func $ok (param $at i32) (param $length i32) (result i32)
      (i32.store8 (i32.const 1024) (i32.const 0))
      (i32.store (i32.const 1032) (local.get $at))
      (i32.store (i32.const 1036) (local.get $length))
      (i32.const 1024))
    (func $empty (result i32) (call $ok (i32.const 64) (i32.const 2)))
    ;;@functions
    (func (export "describe") (result i32)
      (i32.store (i32.const 512) (i32.const 128))
      (i32.store (i32.const 516) (i32.const 52))
      ;;@describe
      (i32.const 512))
    (func (export "run") (param $input i32) (param $length i32) (result i32)
      ;;@run
    ))
  (core instance $main (instantiate $main
    (with "libc" (instance $libc))
    ;;@with
  ))
  (alias core export $main "describe" (core func $describe-core))
  (alias core export $main "run" (core func $run-core))
  (func $describe (result string)
    (canon lift (core func $describe-core) (memory $memory)))
  (func $run (param "input" string) (result (result string (error $error)))
    (canon lift (core func $run-core) (memory $memory) (realloc $realloc)))
  (instance $entry (export "describe" (func $describe)) (export "run" (func $run)))
  (export "flowweaver:task/entry@0.1.0" (instance $entry)))
