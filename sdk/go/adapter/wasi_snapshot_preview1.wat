;; What Go's runtime asks of WASI, answered inside the component, so that a policy imports nothing of it.
;;
;; A policy has no clock, randomness, files or environment: the clock stands still, random bytes are
;; always the same, there are no files, arguments or variables. Waiting (a sleep, a deadlock) and
;; exiting (an uncaught panic) are traps. What is printed is dropped: use the package log.
;;
;; Build: ./build-adapter
(module
  (import "env" "memory" (memory 0))

  (func $store_two_zeros (param $a i32) (param $b i32) (result i32)
    (i32.store (local.get $a) (i32.const 0))
    (i32.store (local.get $b) (i32.const 0))
    (i32.const 0))
  (func $nothing_to_get (param i32 i32) (result i32) (i32.const 0))
  (export "args_sizes_get" (func $store_two_zeros))
  (export "environ_sizes_get" (func $store_two_zeros))
  (export "args_get" (func $nothing_to_get))
  (export "environ_get" (func $nothing_to_get))

  ;; One second after 1970 began: the runtime refuses a clock at zero.
  (func (export "clock_time_get") (param $clock i32) (param $precision i64) (param $time i32) (result i32)
    (i64.store (local.get $time) (i64.const 1000000000))
    (i32.const 0))
  (func (export "clock_res_get") (param $clock i32) (param $resolution i32) (result i32)
    (i64.store (local.get $resolution) (i64.const 1))
    (i32.const 0))
  (func (export "random_get") (param $buffer i32) (param $length i32) (result i32)
    (memory.fill (local.get $buffer) (i32.const 42) (local.get $length))
    (i32.const 0))

  ;; Takes everything and drops it.
  (func (export "fd_write") (param $fd i32) (param $vectors i32) (param $count i32) (param $written i32) (result i32)
    (local $sum i32)
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $count)))
        (local.set $sum (i32.add (local.get $sum) (i32.load offset=4 (local.get $vectors))))
        (local.set $vectors (i32.add (local.get $vectors) (i32.const 8)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $next)))
    (i32.store (local.get $written) (local.get $sum))
    (i32.const 0))

  (func (export "sched_yield") (result i32) (i32.const 0))
  (func (export "poll_oneoff") (param i32 i32 i32 i32) (result i32) (unreachable))
  (func (export "proc_exit") (param i32) (unreachable))
  (func (export "proc_raise") (param i32) (result i32) (unreachable))

  ;; No such file (8, badf): ends the search for folders given at start.
  (func $badf_fd (param i32) (result i32) (i32.const 8))
  (func $badf_2 (param i32 i32) (result i32) (i32.const 8))
  (func $badf_3 (param i32 i32 i32) (result i32) (i32.const 8))
  (func $badf_4 (param i32 i32 i32 i32) (result i32) (i32.const 8))
  (func $badf_5 (param i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func $badf_6 (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func $badf_7 (param i32 i32 i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func $badf_pio (param i32 i32 i32 i64 i32) (result i32) (i32.const 8))
  (export "fd_close" (func $badf_fd))
  (export "fd_datasync" (func $badf_fd))
  (export "fd_sync" (func $badf_fd))
  (export "fd_fdstat_get" (func $badf_2))
  (export "fd_fdstat_set_flags" (func $badf_2))
  (export "fd_filestat_get" (func $badf_2))
  (export "fd_prestat_get" (func $badf_2))
  (export "fd_renumber" (func $badf_2))
  (export "fd_tell" (func $badf_2))
  (export "fd_prestat_dir_name" (func $badf_3))
  (export "fd_read" (func $badf_4))
  (export "fd_pread" (func $badf_pio))
  (export "fd_pwrite" (func $badf_pio))
  (export "fd_readdir" (func $badf_pio))
  (func (export "fd_advise") (param i32 i64 i64 i32) (result i32) (i32.const 8))
  (func (export "fd_allocate") (param i32 i64 i64) (result i32) (i32.const 8))
  (func (export "fd_fdstat_set_rights") (param i32 i64 i64) (result i32) (i32.const 8))
  (func (export "fd_filestat_set_size") (param i32 i64) (result i32) (i32.const 8))
  (func (export "fd_filestat_set_times") (param i32 i64 i64 i32) (result i32) (i32.const 8))
  (func (export "fd_seek") (param i32 i64 i32 i32) (result i32) (i32.const 8))
  (export "path_create_directory" (func $badf_3))
  (export "path_remove_directory" (func $badf_3))
  (export "path_unlink_file" (func $badf_3))
  (export "path_filestat_get" (func $badf_5))
  (export "path_symlink" (func $badf_5))
  (export "path_readlink" (func $badf_6))
  (export "path_rename" (func $badf_6))
  (export "path_link" (func $badf_7))
  (func (export "path_filestat_set_times") (param i32 i32 i32 i32 i64 i64 i32) (result i32) (i32.const 8))
  (func (export "path_open") (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32) (i32.const 8))
  (export "sock_accept" (func $badf_3))
  (export "sock_shutdown" (func $badf_2))
  (export "sock_send" (func $badf_5))
  (export "sock_recv" (func $badf_6)))
