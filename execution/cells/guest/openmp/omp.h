/* OpenMP 4.5 for programs built with --openmp, and what they use of 5.0 and 5.1. */
#ifndef CLOUDSKIN_OMP_H
#define CLOUDSKIN_OMP_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct omp_lock_t { unsigned word; } omp_lock_t;
typedef struct omp_nest_lock_t { unsigned word; } omp_nest_lock_t;

typedef enum omp_sched_t {
  omp_sched_static = 1,
  omp_sched_dynamic = 2,
  omp_sched_guided = 3,
  omp_sched_auto = 4,
  omp_sched_monotonic = (int)0x80000000u
} omp_sched_t;

typedef enum omp_proc_bind_t {
  omp_proc_bind_false = 0,
  omp_proc_bind_true = 1,
  omp_proc_bind_master = 2,
  omp_proc_bind_primary = 2,
  omp_proc_bind_close = 3,
  omp_proc_bind_spread = 4
} omp_proc_bind_t;

typedef enum omp_sync_hint_t {
  omp_sync_hint_none = 0,
  omp_lock_hint_none = omp_sync_hint_none,
  omp_sync_hint_uncontended = 1,
  omp_lock_hint_uncontended = omp_sync_hint_uncontended,
  omp_sync_hint_contended = 2,
  omp_lock_hint_contended = omp_sync_hint_contended,
  omp_sync_hint_nonspeculative = 4,
  omp_lock_hint_nonspeculative = omp_sync_hint_nonspeculative,
  omp_sync_hint_speculative = 8,
  omp_lock_hint_speculative = omp_sync_hint_speculative
} omp_sync_hint_t;
typedef omp_sync_hint_t omp_lock_hint_t;

typedef void *omp_depend_t;
typedef unsigned long omp_event_handle_t;
typedef unsigned long omp_uintptr_t;

typedef enum omp_pause_resource_t {
  omp_pause_resume = 0,
  omp_pause_soft = 1,
  omp_pause_hard = 2
} omp_pause_resource_t;

typedef enum omp_memspace_handle_t {
  omp_default_mem_space = 0,
  omp_large_cap_mem_space = 1,
  omp_const_mem_space = 2,
  omp_high_bw_mem_space = 3,
  omp_low_lat_mem_space = 4
} omp_memspace_handle_t;

typedef enum omp_allocator_handle_t {
  omp_null_allocator = 0,
  omp_default_mem_alloc = 1,
  omp_large_cap_mem_alloc = 2,
  omp_const_mem_alloc = 3,
  omp_high_bw_mem_alloc = 4,
  omp_low_lat_mem_alloc = 5,
  omp_cgroup_mem_alloc = 6,
  omp_pteam_mem_alloc = 7,
  omp_thread_mem_alloc = 8,
  /* Those of the program. */
  omp_own_mem_alloc_last = 0x7fffffff
} omp_allocator_handle_t;

typedef enum omp_alloctrait_key_t {
  omp_atk_sync_hint = 1,
  omp_atk_alignment = 2,
  omp_atk_access = 3,
  omp_atk_pool_size = 4,
  omp_atk_fallback = 5,
  omp_atk_fb_data = 6,
  omp_atk_pinned = 7,
  omp_atk_partition = 8
} omp_alloctrait_key_t;

typedef enum omp_alloctrait_value_t {
  omp_atv_default = -1,
  omp_atv_false = 0,
  omp_atv_true = 1,
  omp_atv_contended = 3,
  omp_atv_uncontended = 4,
  omp_atv_serialized = 5,
  omp_atv_sequential = omp_atv_serialized,
  omp_atv_private = 6,
  omp_atv_all = 7,
  omp_atv_thread = 8,
  omp_atv_pteam = 9,
  omp_atv_cgroup = 10,
  omp_atv_default_mem_fb = 11,
  omp_atv_null_fb = 12,
  omp_atv_abort_fb = 13,
  omp_atv_allocator_fb = 14,
  omp_atv_environment = 15,
  omp_atv_nearest = 16,
  omp_atv_blocked = 17,
  omp_atv_interleaved = 18
} omp_alloctrait_value_t;

typedef struct omp_alloctrait_t {
  omp_alloctrait_key_t key;
  omp_uintptr_t value;
} omp_alloctrait_t;

#ifdef _OPENMP
#define OMP_VERSION _OPENMP
#else
#define OMP_VERSION 0
#endif

#ifdef __cplusplus
#define OMP_DEFAULT(value) = value
#else
#define OMP_DEFAULT(value)
#endif

extern void omp_set_num_threads(int);
extern int omp_get_num_threads(void);
extern int omp_get_max_threads(void);
extern int omp_get_thread_num(void);
extern int omp_get_num_procs(void);
extern int omp_in_parallel(void);
extern void omp_set_dynamic(int);
extern int omp_get_dynamic(void);
extern int omp_get_cancellation(void);
extern void omp_set_nested(int);
extern int omp_get_nested(void);
extern void omp_set_schedule(omp_sched_t, int);
extern void omp_get_schedule(omp_sched_t *, int *);
extern int omp_get_thread_limit(void);
extern void omp_set_max_active_levels(int);
extern int omp_get_max_active_levels(void);
extern int omp_get_supported_active_levels(void);
extern int omp_get_level(void);
extern int omp_get_ancestor_thread_num(int);
extern int omp_get_team_size(int);
extern int omp_get_active_level(void);
extern int omp_in_final(void);
extern int omp_get_max_task_priority(void);

extern void omp_init_lock(omp_lock_t *);
extern void omp_destroy_lock(omp_lock_t *);
extern void omp_set_lock(omp_lock_t *);
extern void omp_unset_lock(omp_lock_t *);
extern int omp_test_lock(omp_lock_t *);
extern void omp_init_nest_lock(omp_nest_lock_t *);
extern void omp_destroy_nest_lock(omp_nest_lock_t *);
extern void omp_set_nest_lock(omp_nest_lock_t *);
extern void omp_unset_nest_lock(omp_nest_lock_t *);
extern int omp_test_nest_lock(omp_nest_lock_t *);

extern double omp_get_wtime(void);
extern double omp_get_wtick(void);

extern int omp_get_team_num(void);
extern int omp_get_num_teams(void);
extern int omp_get_max_teams(void);
extern void omp_set_num_teams(int);
extern int omp_get_teams_thread_limit(void);
extern void omp_set_teams_thread_limit(int);
extern int omp_get_default_device(void);
extern void omp_set_default_device(int);

extern void omp_fulfill_event(omp_event_handle_t);

extern void omp_set_affinity_format(const char *);
extern size_t omp_get_affinity_format(char *, size_t);
extern size_t omp_capture_affinity(char *, size_t, const char *);

extern omp_allocator_handle_t omp_init_allocator(omp_memspace_handle_t, int,
                                                 const omp_alloctrait_t *);
extern void omp_destroy_allocator(omp_allocator_handle_t);
extern void omp_set_default_allocator(omp_allocator_handle_t);
extern omp_allocator_handle_t omp_get_default_allocator(void);
extern void *omp_alloc(size_t, omp_allocator_handle_t from OMP_DEFAULT(omp_null_allocator));
extern void *omp_aligned_alloc(size_t, size_t,
                               omp_allocator_handle_t from OMP_DEFAULT(omp_null_allocator));
extern void *omp_calloc(size_t, size_t,
                        omp_allocator_handle_t from OMP_DEFAULT(omp_null_allocator));
extern void *omp_aligned_calloc(size_t, size_t, size_t,
                                omp_allocator_handle_t from OMP_DEFAULT(omp_null_allocator));
extern void *omp_realloc(void *, size_t,
                         omp_allocator_handle_t from OMP_DEFAULT(omp_null_allocator),
                         omp_allocator_handle_t was_from OMP_DEFAULT(omp_null_allocator));
extern void omp_free(void *, omp_allocator_handle_t from OMP_DEFAULT(omp_null_allocator));

/* One place. */
static __inline__ omp_proc_bind_t omp_get_proc_bind(void) { return omp_proc_bind_false; }
static __inline__ int omp_get_num_places(void) { return 0; }
static __inline__ int omp_get_place_num_procs(int place) { (void)place; return 0; }
static __inline__ void omp_get_place_proc_ids(int place, int *ids) { (void)place; (void)ids; }
static __inline__ int omp_get_place_num(void) { return -1; }
static __inline__ int omp_get_partition_num_places(void) { return 0; }
static __inline__ void omp_get_partition_place_nums(int *places) { (void)places; }

/* No device but the host, which is device 0. */
static __inline__ int omp_get_num_devices(void) { return 0; }
static __inline__ int omp_get_initial_device(void) { return 0; }
static __inline__ int omp_get_device_num(void) { return 0; }
static __inline__ int omp_is_initial_device(void) { return 1; }
static __inline__ int omp_pause_resource(omp_pause_resource_t kind, int device) {
  (void)kind;
  return device != 0;
}
static __inline__ int omp_pause_resource_all(omp_pause_resource_t kind) { (void)kind; return 0; }
static __inline__ void *omp_target_alloc(size_t size, int device) {
  return device == 0 ? malloc(size) : NULL;
}
static __inline__ void omp_target_free(void *memory, int device) { (void)device; free(memory); }
static __inline__ int omp_target_is_present(const void *memory, int device) {
  (void)memory;
  return device == 0;
}
static __inline__ int omp_target_is_accessible(const void *memory, size_t size, int device) {
  (void)memory;
  (void)size;
  return device == 0;
}
static __inline__ void *omp_get_mapped_ptr(const void *memory, int device) {
  return device == 0 ? (void *)memory : NULL;
}
static __inline__ int omp_target_associate_ptr(const void *host, const void *memory, size_t size,
                                           size_t offset, int device) {
  (void)host, (void)memory, (void)size, (void)offset, (void)device;
  return 1;
}
static __inline__ int omp_target_disassociate_ptr(const void *memory, int device) {
  (void)memory, (void)device;
  return 1;
}
static __inline__ int omp_target_memcpy(void *into, const void *from, size_t length, size_t at,
                                    size_t from_at, int device, int from_device) {
  if (device != 0 || from_device != 0 || !into || !from)
    return 1;
  __builtin_memmove((char *)into + at, (const char *)from + from_at, length);
  return 0;
}
static __inline__ int omp_target_memcpy_rect(void *into, const void *from, size_t size,
                                             int dimensions, const size_t *volume,
                                             const size_t *at, const size_t *from_at,
                                             const size_t *lengths, const size_t *from_lengths,
                                             int device, int from_device) {
  size_t row = size, from_row = size, each;
  char *to;
  const char *of;
  int inner;
  if (!into && !from)
    return 64;
  if (device != 0 || from_device != 0 || !into || !from || dimensions < 1)
    return 1;
  for (inner = 1; inner < dimensions; inner++) {
    row *= lengths[inner];
    from_row *= from_lengths[inner];
  }
  to = (char *)into + at[0] * row;
  of = (const char *)from + from_at[0] * from_row;
  if (dimensions == 1) {
    __builtin_memmove(to, of, volume[0] * size);
    return 0;
  }
  for (each = 0; each < volume[0]; each++)
    if (omp_target_memcpy_rect(to + each * row, of + each * from_row, size, dimensions - 1,
                               volume + 1, at + 1, from_at + 1, lengths + 1, from_lengths + 1,
                               device, from_device))
      return 1;
  return 0;
}

static __inline__ void omp_display_affinity(const char *format) {
  char text[1024];
  omp_capture_affinity(text, sizeof text, format);
  __builtin_printf("%s\n", text);
}
extern int dprintf(int, const char *, ...);
static __inline__ void omp_display_env(int verbose) {
  omp_sched_t kind;
  int chunk;
  const char *kinds[] = {"", "STATIC", "DYNAMIC", "GUIDED", "AUTO"};
  omp_get_schedule(&kind, &chunk);
  dprintf(2,
          "OPENMP DISPLAY ENVIRONMENT BEGIN\n  _OPENMP = '%d'\n  OMP_NUM_THREADS = '%d'\n"
          "  OMP_SCHEDULE = '%s,%d'\n  OMP_DYNAMIC = '%s'\n  OMP_MAX_ACTIVE_LEVELS = '%d'\n"
          "  OMP_THREAD_LIMIT = '%d'\n  OMP_CANCELLATION = '%s'\nOPENMP DISPLAY ENVIRONMENT END\n",
          OMP_VERSION, omp_get_max_threads(), kinds[(int)kind & 7], chunk,
          omp_get_dynamic() ? "TRUE" : "FALSE", omp_get_max_active_levels(),
          omp_get_thread_limit(), omp_get_cancellation() ? "TRUE" : "FALSE");
  (void)verbose;
}
static __inline__ void omp_init_lock_with_hint(omp_lock_t *lock, omp_sync_hint_t hint) {
  (void)hint;
  omp_init_lock(lock);
}
static __inline__ void omp_init_nest_lock_with_hint(omp_nest_lock_t *lock, omp_sync_hint_t hint) {
  (void)hint;
  omp_init_nest_lock(lock);
}

#ifdef __cplusplus
}
#endif

#undef OMP_DEFAULT
#undef OMP_VERSION

#endif
