//! OpenMP's functions under the names that compilers call.

use super::{
    guest::{State, View},
    stop,
};
use openmp::{Bounds, DispatchOut, Error, Guest, Kind, Result, StaticLoop, Taskloop, Thread};
use wasmtime::{Caller, Linker};

/// Where compilers look for them.
const MODULE: &str = "env";

/// Calls the thread with the guest that calls it.
fn enter<R>(
    caller: &mut Caller<'_, State>,
    work: impl FnOnce(&Thread, &mut dyn Guest) -> Result<R>,
) -> wasmtime::Result<R> {
    let begun = Error::Misuse("it calls OpenMP before it has begun");
    let thread = caller.data().openmp.clone().ok_or(begun)?;
    caller.data().ground.look(&*caller);
    work(&thread, &mut View(caller)).map_err(|error| match error {
        // What a guest's function ended with goes on as it was.
        Error::Guest { source, .. } if source.is::<crate::wasi::Exit>() => source
            .downcast::<crate::wasi::Exit>()
            .map_or_else(|_| Error::Stopped.into(), |exit| (*exit).into()),
        error => error.into(),
    })
}

/// Where the functions go: to a linker, or only their names to a list.
struct Offers<'a> {
    linker: Option<&'a mut Linker<State>>,
    names: Vec<&'static str>,
}

macro_rules! offer {
    ($offers:ident: $($name:ident($($arg:ident: $type:ty),*) -> $result:ty = |$thread:ident, $guest:ident| $body:expr;)*) => {
        $(
            $offers.names.push(stringify!($name));
            if let Some(linker) = &mut $offers.linker {
                linker.func_wrap(
                    MODULE,
                    stringify!($name),
                    |mut caller: Caller<'_, State>, $($arg: $type),*| -> wasmtime::Result<$result> {
                        $(let _ = $arg;)*
                        enter(&mut caller, |$thread, $guest| { let _ = (&$thread, &$guest); $body })
                    },
                )?;
            }
        )*
    };
}

/// The same of functions that begin a region, where the program may stop before; the first argument
/// says where in the source they are.
macro_rules! offer_regions {
    ($offers:ident: $($name:ident($place:ident $(, $arg:ident)*) = |$thread:ident, $guest:ident| $body:expr;)*) => {
        $(
            $offers.names.push(stringify!($name));
            if let Some(linker) = &mut $offers.linker {
                linker.func_wrap(
                    MODULE,
                    stringify!($name),
                    |mut caller: Caller<'_, State>, $place: u32, $($arg: u32),*| -> wasmtime::Result<()> {
                        $(let _ = $arg;)*
                        stop::region(&mut caller, $place, |caller| {
                            enter(caller, |$thread, $guest| { let _ = &$guest; $body })
                        })
                    },
                )?;
            }
        )*
    };
}

macro_rules! loops {
    ($offers:ident: $($kind:ident $type:ty: $static:ident $init:ident $next:ident $fini:ident;)*) => {
        offer! { $offers:
            $(
                $static(p: u32, g: u32, schedule: u32, last: u32, lower: u32, upper: u32, stride: u32, step: $type, chunk: $type) -> () =
                    |t, guest| t.for_static_init(&StaticLoop {
                        kind: Kind::$kind, schedule, last, lower, upper, stride,
                        step: step as u64, chunk: chunk as u64,
                    });
                $init(p: u32, g: u32, schedule: u32, lower: $type, upper: $type, step: $type, chunk: $type) -> () =
                    |t, guest| t.dispatch_init(&Bounds {
                        kind: Kind::$kind, schedule, lower: lower as u64, upper: upper as u64,
                        step: step as u64, chunk: chunk as u64,
                    });
                $next(p: u32, g: u32, last: u32, lower: u32, upper: u32, stride: u32) -> u32 =
                    |t, guest| t.dispatch_next(&DispatchOut { last, lower, upper, stride }).map(u32::from);
                $fini(p: u32, g: u32) -> () = |t, guest| t.dispatch_fini();
            )*
        }
    };
}

/// Adds all of them.
pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap("cloudskin", "checkpoint", |mut caller: Caller<'_, State>| {
        <State as crate::wasi::Host>::enter(&mut caller)?;
        stop::stops(&mut caller)?;
        Ok(0_i32)
    })?;
    add(&mut Offers { linker: Some(linker), names: Vec::new() })
}

/// The names of all of them.
pub(super) fn names() -> Vec<&'static str> {
    let mut offers = Offers { linker: None, names: Vec::new() };
    // Without a linker nothing is left to fail.
    let _ = add(&mut offers);
    offers.names
}

fn add(offers: &mut Offers<'_>) -> wasmtime::Result<()> {
    add_regions(offers)?;
    add_loops(offers)?;
    add_tasks(offers)?;
    add_api(offers)?;
    add_locks(offers)?;
    add_memory(offers)
}

fn add_regions(offers: &mut Offers<'_>) -> wasmtime::Result<()> {
    // `toolchain::plan` knows these as places where a program may be suspended.
    offer_regions! { offers:
        __kmpc_fork_call(place, argc, microtask, args) = |t, guest| t.fork_call(guest, argc, microtask, args);
        __kmpc_fork_teams(place, argc, microtask, args) = |t, guest| t.fork_teams(guest, argc, microtask, args);
        __kmpc_serialized_parallel(place, g) = |t, guest| t.serialized_parallel();
    }
    offer! { offers:
        __kmpc_global_thread_num(p: u32) -> u32 = |t, guest| Ok(t.global_number());
        __kmpc_global_num_threads(p: u32) -> u32 = |t, guest| Ok(t.num_threads());
        __kmpc_bound_thread_num(p: u32) -> u32 = |t, guest| Ok(t.thread_num());
        __kmpc_bound_num_threads(p: u32) -> u32 = |t, guest| Ok(t.num_threads());
        __kmpc_in_parallel(p: u32) -> u32 = |t, guest| Ok(u32::from(t.in_parallel()));
        __kmpc_push_num_threads(p: u32, g: u32, threads: u32) -> () = |t, guest| { t.push_num_threads(threads); Ok(()) };
        __kmpc_push_proc_bind(p: u32, g: u32, kind: u32) -> () = |t, guest| Ok(());
        __kmpc_push_num_teams(p: u32, g: u32, teams: u32, threads: u32) -> () =
            |t, guest| { t.push_num_teams(teams, threads); Ok(()) };
        __kmpc_push_num_teams_51(p: u32, g: u32, fewest: u32, most: u32, threads: u32) -> () =
            |t, guest| { t.push_num_teams(most.max(fewest), threads); Ok(()) };
        __kmpc_set_thread_limit(p: u32, g: u32, threads: u32) -> () = |t, guest| { t.set_thread_limit(threads); Ok(()) };
        __kmpc_end_serialized_parallel(p: u32, g: u32) -> () = |t, guest| t.end_serialized_parallel(guest);
        __kmpc_barrier(p: u32, g: u32) -> () = |t, guest| t.barrier(guest);
        __kmpc_cancel_barrier(p: u32, g: u32) -> u32 = |t, guest| t.cancel_barrier(guest).map(u32::from);
        __kmpc_cancel(p: u32, g: u32, kind: u32) -> u32 = |t, guest| t.cancel(kind).map(u32::from);
        __kmpc_cancellationpoint(p: u32, g: u32, kind: u32) -> u32 =
            |t, guest| t.cancellation_point(kind).map(u32::from);
        __kmpc_flush(p: u32) -> () = |t, guest| { t.flush(); Ok(()) };
        __kmpc_single(p: u32, g: u32) -> u32 = |t, guest| Ok(u32::from(t.single()));
        __kmpc_end_single(p: u32, g: u32) -> () = |t, guest| Ok(());
        __kmpc_master(p: u32, g: u32) -> u32 = |t, guest| Ok(u32::from(t.masked(0)));
        __kmpc_end_master(p: u32, g: u32) -> () = |t, guest| Ok(());
        __kmpc_masked(p: u32, g: u32, filter: u32) -> u32 = |t, guest| Ok(u32::from(t.masked(filter)));
        __kmpc_end_masked(p: u32, g: u32) -> () = |t, guest| Ok(());
        __kmpc_copyprivate(p: u32, g: u32, size: u32, data: u32, function: u32, did_it: u32) -> () =
            |t, guest| t.copyprivate(guest, data, function, did_it != 0);
        __kmpc_critical(p: u32, g: u32, lock: u32) -> () = |t, guest| t.critical(lock);
        __kmpc_critical_with_hint(p: u32, g: u32, lock: u32, hint: u32) -> () = |t, guest| t.critical(lock);
        __kmpc_end_critical(p: u32, g: u32, lock: u32) -> () = |t, guest| t.end_critical(lock);
        __kmpc_reduce(p: u32, g: u32, count: u32, size: u32, data: u32, function: u32, lock: u32) -> u32 =
            |t, guest| t.reduce(guest, p, (count, size), data, function, (lock, true));
        __kmpc_reduce_nowait(p: u32, g: u32, count: u32, size: u32, data: u32, function: u32, lock: u32) -> u32 =
            |t, guest| t.reduce(guest, p, (count, size), data, function, (lock, false));
        __kmpc_end_reduce(p: u32, g: u32, lock: u32) -> () = |t, guest| t.end_reduce(guest, lock);
        __kmpc_end_reduce_nowait(p: u32, g: u32, lock: u32) -> () = |t, guest| t.end_reduce_nowait(lock);
        __kmpc_threadprivate_cached(p: u32, g: u32, data: u32, size: u32, cache: u32) -> u32 =
            |t, guest| t.threadprivate_cached(guest, data, size);
    }
    Ok(())
}

fn add_loops(offers: &mut Offers<'_>) -> wasmtime::Result<()> {
    loops! { offers:
        I32 i32: __kmpc_for_static_init_4 __kmpc_dispatch_init_4 __kmpc_dispatch_next_4 __kmpc_dispatch_fini_4;
        U32 u32: __kmpc_for_static_init_4u __kmpc_dispatch_init_4u __kmpc_dispatch_next_4u __kmpc_dispatch_fini_4u;
        I64 i64: __kmpc_for_static_init_8 __kmpc_dispatch_init_8 __kmpc_dispatch_next_8 __kmpc_dispatch_fini_8;
        U64 u64: __kmpc_for_static_init_8u __kmpc_dispatch_init_8u __kmpc_dispatch_next_8u __kmpc_dispatch_fini_8u;
    }
    offer! { offers:
        __kmpc_for_static_fini(p: u32, g: u32) -> () = |t, guest| Ok(());
        __kmpc_dispatch_deinit(p: u32, g: u32) -> () = |t, guest| t.dispatch_deinit();
        __kmpc_ordered(p: u32, g: u32) -> () = |t, guest| t.ordered();
        __kmpc_end_ordered(p: u32, g: u32) -> () = |t, guest| t.end_ordered();
        __kmpc_doacross_init(p: u32, g: u32, count: u32, dimensions: u32) -> () =
            |t, guest| t.doacross_init(count, dimensions);
        __kmpc_doacross_wait(p: u32, g: u32, vector: u32) -> () = |t, guest| t.doacross_wait(vector);
        __kmpc_doacross_post(p: u32, g: u32, vector: u32) -> () = |t, guest| t.doacross_post(vector);
        __kmpc_doacross_fini(p: u32, g: u32) -> () = |t, guest| t.doacross_fini();
    }
    Ok(())
}

fn add_tasks(offers: &mut Offers<'_>) -> wasmtime::Result<()> {
    offer! { offers:
        __kmpc_omp_task_alloc(p: u32, g: u32, flags: u32, size: u32, shared: u32, entry: u32) -> u32 =
            |t, guest| t.task_alloc(guest, flags, size, shared, entry);
        __kmpc_omp_target_task_alloc(p: u32, g: u32, flags: u32, size: u32, shared: u32, entry: u32, device: u64) -> u32 =
            |t, guest| t.task_alloc(guest, flags, size, shared, entry);
        __kmpc_omp_task(p: u32, g: u32, task: u32) -> u32 = |t, guest| t.task(guest, task).map(|()| 0);
        __kmpc_omp_task_with_deps(p: u32, g: u32, task: u32, n: u32, list: u32, m: u32, other: u32) -> u32 =
            |t, guest| t.task_with_deps(guest, task, [(n, list), (m, other)]).map(|()| 0);
        __kmpc_omp_wait_deps(p: u32, g: u32, n: u32, list: u32, m: u32, other: u32) -> () =
            |t, guest| t.wait_deps(guest, [(n, list), (m, other)]);
        __kmpc_omp_taskwait_deps_51(p: u32, g: u32, n: u32, list: u32, m: u32, other: u32, nowait: u32) -> () =
            |t, guest| t.wait_deps(guest, [(n, list), (m, other)]);
        __kmpc_omp_task_begin_if0(p: u32, g: u32, task: u32) -> () = |t, guest| t.task_begin_if0(task);
        __kmpc_omp_task_complete_if0(p: u32, g: u32, task: u32) -> () = |t, guest| t.task_complete_if0(guest, task);
        __kmpc_omp_taskwait(p: u32, g: u32) -> u32 = |t, guest| t.taskwait(guest).map(|()| 0);
        __kmpc_omp_taskyield(p: u32, g: u32, part: u32) -> u32 = |t, guest| t.taskyield(guest).map(|()| 0);
        __kmpc_taskgroup(p: u32, g: u32) -> () = |t, guest| { t.taskgroup(); Ok(()) };
        __kmpc_end_taskgroup(p: u32, g: u32) -> () = |t, guest| t.end_taskgroup(guest);
        __kmpc_taskloop(p: u32, g: u32, task: u32, deferred: u32, lower: u32, upper: u32, step: u64, no_group: u32, schedule: u32, size: u64, duplicate: u32) -> () =
            |t, guest| t.taskloop(guest, &Taskloop {
                task, deferred: deferred != 0, lower, upper, step, no_group: no_group != 0,
                schedule, size, duplicate,
            });
        __kmpc_taskred_init(g: u32, count: u32, items: u32) -> u32 = |t, guest| t.taskred_init(guest, count, items);
        __kmpc_taskred_modifier_init(p: u32, g: u32, of_loop: u32, count: u32, items: u32) -> u32 =
            |t, guest| t.taskred_modifier_init(guest, of_loop != 0, count, items);
        __kmpc_task_reduction_modifier_fini(p: u32, g: u32, of_loop: u32) -> () = |t, guest| t.end_taskgroup(guest);
        __kmpc_task_allow_completion_event(p: u32, g: u32, task: u32) -> u32 = |t, guest| t.allow_completion_event(task);
        __kmpc_omp_reg_task_with_affinity(p: u32, g: u32, task: u32, n: u32, list: u32) -> u32 = |t, guest| Ok(0);
        omp_fulfill_event(event: u32) -> () = |t, guest| t.fulfill_event(event);
        __kmpc_task_reduction_get_th_data(g: u32, group: u32, variable: u32) -> u32 =
            |t, guest| t.task_reduction_data(group, variable);
    }
    Ok(())
}

fn add_api(offers: &mut Offers<'_>) -> wasmtime::Result<()> {
    offer! { offers:
        omp_set_num_threads(threads: i32) -> () = |t, guest| { t.set_num_threads(threads); Ok(()) };
        omp_get_num_threads() -> u32 = |t, guest| Ok(t.num_threads());
        omp_get_max_threads() -> u32 = |t, guest| Ok(t.max_threads());
        omp_get_thread_num() -> u32 = |t, guest| Ok(t.thread_num());
        omp_get_num_procs() -> u32 = |t, guest| Ok(t.num_procs());
        omp_in_parallel() -> u32 = |t, guest| Ok(u32::from(t.in_parallel()));
        omp_set_dynamic(on: u32) -> () = |t, guest| { t.set_dynamic(on != 0); Ok(()) };
        omp_get_dynamic() -> u32 = |t, guest| Ok(u32::from(t.dynamic()));
        omp_get_cancellation() -> u32 = |t, guest| Ok(u32::from(t.cancellation()));
        omp_set_nested(on: u32) -> () = |t, guest| { t.set_nested(on != 0); Ok(()) };
        omp_get_nested() -> u32 = |t, guest| Ok(u32::from(t.nested()));
        omp_set_schedule(kind: u32, chunk: i32) -> () = |t, guest| { t.set_schedule(kind, chunk); Ok(()) };
        omp_get_schedule(kind: u32, chunk: u32) -> () = |t, guest| t.store_schedule(kind, chunk);
        omp_get_thread_limit() -> u32 = |t, guest| Ok(t.thread_limit());
        omp_set_max_active_levels(levels: i32) -> () = |t, guest| { t.set_max_active_levels(levels); Ok(()) };
        omp_get_max_active_levels() -> u32 = |t, guest| Ok(t.max_active_levels());
        omp_get_supported_active_levels() -> u32 = |t, guest| Ok(t.supported_active_levels());
        omp_get_level() -> u32 = |t, guest| Ok(t.level());
        omp_get_ancestor_thread_num(level: i32) -> i32 = |t, guest| Ok(t.ancestor_thread_num(level));
        omp_get_team_size(level: i32) -> i32 = |t, guest| Ok(t.team_size(level));
        omp_get_active_level() -> u32 = |t, guest| Ok(t.active_level());
        omp_in_final() -> u32 = |t, guest| Ok(u32::from(t.in_final()));
        omp_get_max_task_priority() -> u32 = |t, guest| Ok(t.max_task_priority());
        omp_get_team_num() -> u32 = |t, guest| Ok(t.team_num());
        omp_get_num_teams() -> u32 = |t, guest| Ok(t.num_teams());
        omp_get_max_teams() -> u32 = |t, guest| Ok(t.max_teams());
        omp_set_num_teams(teams: i32) -> () = |t, guest| { t.set_num_teams(teams); Ok(()) };
        omp_get_teams_thread_limit() -> u32 = |t, guest| Ok(t.teams_thread_limit());
        omp_set_teams_thread_limit(threads: i32) -> () = |t, guest| { t.set_teams_thread_limit(threads); Ok(()) };
        omp_get_default_device() -> i32 = |t, guest| Ok(t.default_device());
        omp_set_default_device(device: i32) -> () = |t, guest| { t.set_default_device(device); Ok(()) };
        omp_set_affinity_format(format: u32) -> () = |t, guest| t.set_affinity_format(format);
        omp_get_affinity_format(buffer: u32, size: u32) -> u32 = |t, guest| t.affinity_format(buffer, size);
        omp_capture_affinity(buffer: u32, size: u32, format: u32) -> u32 =
            |t, guest| t.capture_affinity(buffer, size, format);
        omp_get_wtime() -> f64 = |t, guest| Ok(t.wtime());
        omp_get_wtick() -> f64 = |t, guest| Ok(t.wtick());
    }
    Ok(())
}

fn add_locks(offers: &mut Offers<'_>) -> wasmtime::Result<()> {
    offer! { offers:
        omp_init_lock(lock: u32) -> () = |t, guest| t.init_lock(lock);
        omp_destroy_lock(lock: u32) -> () = |t, guest| t.destroy_lock(lock);
        omp_set_lock(lock: u32) -> () = |t, guest| t.set_lock(lock);
        omp_unset_lock(lock: u32) -> () = |t, guest| t.unset_lock(lock);
        omp_test_lock(lock: u32) -> u32 = |t, guest| t.test_lock(lock).map(u32::from);
        omp_init_nest_lock(lock: u32) -> () = |t, guest| t.init_nest_lock(lock);
        omp_destroy_nest_lock(lock: u32) -> () = |t, guest| t.destroy_lock(lock);
        omp_set_nest_lock(lock: u32) -> () = |t, guest| t.set_nest_lock(lock);
        omp_unset_nest_lock(lock: u32) -> () = |t, guest| t.unset_nest_lock(lock);
        omp_test_nest_lock(lock: u32) -> u32 = |t, guest| t.test_nest_lock(lock);
    }
    Ok(())
}

fn add_memory(offers: &mut Offers<'_>) -> wasmtime::Result<()> {
    offer! { offers:
        __kmpc_alloc(g: u32, size: u32, from: u32) -> u32 = |t, guest| t.allocate(guest, size, 0, from);
        __kmpc_aligned_alloc(g: u32, alignment: u32, size: u32, from: u32) -> u32 =
            |t, guest| t.allocate(guest, size, alignment, from);
        __kmpc_free(g: u32, block: u32, from: u32) -> () = |t, guest| t.free(guest, block);
        __kmpc_init_allocator(g: u32, space: u32, count: u32, traits: u32) -> u32 =
            |t, guest| t.init_allocator(count, traits);
        __kmpc_destroy_allocator(g: u32, allocator: u32) -> () = |t, guest| { t.destroy_allocator(allocator); Ok(()) };
        omp_init_allocator(space: u32, count: u32, traits: u32) -> u32 = |t, guest| t.init_allocator(count, traits);
        omp_destroy_allocator(allocator: u32) -> () = |t, guest| { t.destroy_allocator(allocator); Ok(()) };
        omp_set_default_allocator(allocator: u32) -> () = |t, guest| { t.set_default_allocator(allocator); Ok(()) };
        omp_get_default_allocator() -> u32 = |t, guest| Ok(t.default_allocator());
        omp_alloc(size: u32, from: u32) -> u32 = |t, guest| t.allocate(guest, size, 0, from);
        omp_aligned_alloc(alignment: u32, size: u32, from: u32) -> u32 =
            |t, guest| t.allocate(guest, size, alignment, from);
        omp_calloc(count: u32, size: u32, from: u32) -> u32 =
            |t, guest| t.allocate_zeroed(guest, (count, size), 0, from);
        omp_aligned_calloc(alignment: u32, count: u32, size: u32, from: u32) -> u32 =
            |t, guest| t.allocate_zeroed(guest, (count, size), alignment, from);
        omp_realloc(block: u32, size: u32, from: u32, was_from: u32) -> u32 =
            |t, guest| t.reallocate(guest, block, size, from);
        omp_free(block: u32, from: u32) -> () = |t, guest| t.free(guest, block);
    }
    Ok(())
}
