/* What makes a C library for one thread bear several: its allocator and its streams, one thread at
   a time, and the atomic operations that the machine has no instruction for. Linked with
   --wrap for each function below. */

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* 0 free, 1 held, 2 held and waited for. */
typedef struct { int state; } Lock;

static void lock(Lock *lock) {
  int expected = 0;
  if (__atomic_compare_exchange_n(&lock->state, &expected, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
    return;
  while (__atomic_exchange_n(&lock->state, 2, __ATOMIC_ACQUIRE) != 0)
    __builtin_wasm_memory_atomic_wait32(&lock->state, 2, -1);
}

static void unlock(Lock *lock) {
  if (__atomic_exchange_n(&lock->state, 0, __ATOMIC_RELEASE) == 2)
    __builtin_wasm_memory_atomic_notify(&lock->state, 1);
}

static Lock heap, streams, atomics;

/* Functions of the library call one another, and so come here again while they hold the lock. */
static _Thread_local int heap_depth, streams_depth;

static void enter(Lock *which, int *depth) {
  if ((*depth)++ == 0)
    lock(which);
}

static void leave(Lock *which, int *depth) {
  if (--*depth == 0)
    unlock(which);
}

void *__real_malloc(size_t);
void __real_free(void *);
void *__real_calloc(size_t, size_t);
void *__real_realloc(void *, size_t);
int __real_posix_memalign(void **, size_t, size_t);
void *__real_aligned_alloc(size_t, size_t);
int __real_vfprintf(FILE *, const char *, va_list);
size_t __real_fwrite(const void *, size_t, size_t, FILE *);
int __real_fputs(const char *, FILE *);
int __real_puts(const char *);
int __real_putchar(int);
int __real_fflush(FILE *);

void *__wrap_malloc(size_t size) {
  enter(&heap, &heap_depth);
  void *made = __real_malloc(size);
  leave(&heap, &heap_depth);
  return made;
}

void __wrap_free(void *old) {
  enter(&heap, &heap_depth);
  __real_free(old);
  leave(&heap, &heap_depth);
}

void *__wrap_calloc(size_t count, size_t size) {
  enter(&heap, &heap_depth);
  void *made = __real_calloc(count, size);
  leave(&heap, &heap_depth);
  return made;
}

void *__wrap_realloc(void *old, size_t size) {
  enter(&heap, &heap_depth);
  void *made = __real_realloc(old, size);
  leave(&heap, &heap_depth);
  return made;
}

int __wrap_posix_memalign(void **made, size_t alignment, size_t size) {
  enter(&heap, &heap_depth);
  int failed = __real_posix_memalign(made, alignment, size);
  leave(&heap, &heap_depth);
  return failed;
}

void *__wrap_aligned_alloc(size_t alignment, size_t size) {
  enter(&heap, &heap_depth);
  void *made = __real_aligned_alloc(alignment, size);
  leave(&heap, &heap_depth);
  return made;
}

int __wrap_vfprintf(FILE *stream, const char *format, va_list arguments) {
  enter(&streams, &streams_depth);
  int written = __real_vfprintf(stream, format, arguments);
  leave(&streams, &streams_depth);
  return written;
}

size_t __wrap_fwrite(const void *data, size_t size, size_t count, FILE *stream) {
  enter(&streams, &streams_depth);
  size_t written = __real_fwrite(data, size, count, stream);
  leave(&streams, &streams_depth);
  return written;
}

int __wrap_fputs(const char *text, FILE *stream) {
  enter(&streams, &streams_depth);
  int failed = __real_fputs(text, stream);
  leave(&streams, &streams_depth);
  return failed;
}

int __wrap_puts(const char *text) {
  enter(&streams, &streams_depth);
  int failed = __real_puts(text);
  leave(&streams, &streams_depth);
  return failed;
}

int __wrap_putchar(int letter) {
  enter(&streams, &streams_depth);
  int written = __real_putchar(letter);
  leave(&streams, &streams_depth);
  return written;
}

int __wrap_fflush(FILE *stream) {
  enter(&streams, &streams_depth);
  int failed = __real_fflush(stream);
  leave(&streams, &streams_depth);
  return failed;
}

int __cxa_atexit(void (*)(void *), void *, void *);

/* Objects of a thread's own live as long as the program: its threads do. */
int __cxa_thread_atexit(void (*destroy)(void *), void *object, void *library) {
  enter(&heap, &heap_depth);
  int failed = __cxa_atexit(destroy, object, library);
  leave(&heap, &heap_depth);
  return failed;
}

/* Variables of C++ functions are made once, by the first thread that comes; the others wait. The
   lowest byte of such a variable's word says 1 when it is there, which compiled code reads too. */
enum { MADE = 1, BEING_MADE = 256, WAITED_FOR = 512 };

int __cxa_guard_acquire(int *word) {
  for (;;) {
    int seen = 0;
    if (__atomic_compare_exchange_n(word, &seen, BEING_MADE, 0, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE))
      return 1;
    if (seen & MADE)
      return 0;
    if (seen == WAITED_FOR ||
        __atomic_compare_exchange_n(word, &seen, WAITED_FOR, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
      __builtin_wasm_memory_atomic_wait32(word, WAITED_FOR, -1);
  }
}

static void end_guard(int *word, int state) {
  if (__atomic_exchange_n(word, state, __ATOMIC_RELEASE) == WAITED_FOR)
    __builtin_wasm_memory_atomic_notify(word, ~0u);
}

void __cxa_guard_release(int *word) { end_guard(word, MADE); }
void __cxa_guard_abort(int *word) { end_guard(word, 0); }

/* Atomic operations on objects longer than eight bytes. The compiler knows their names as its own,
   so they are given to the linker under others. */
void cloudskin_atomic_load(size_t size, void *from, void *into, int order) __asm__("__atomic_load");
void cloudskin_atomic_store(size_t size, void *into, void *from, int order) __asm__("__atomic_store");
void cloudskin_atomic_exchange(size_t size, void *object, void *from, void *into, int order)
    __asm__("__atomic_exchange");
_Bool cloudskin_atomic_compare_exchange(size_t size, void *object, void *expected, void *desired,
                                        int success, int failure)
    __asm__("__atomic_compare_exchange");

void cloudskin_atomic_load(size_t size, void *from, void *into, int order) {
  (void)order;
  lock(&atomics);
  memcpy(into, from, size);
  unlock(&atomics);
}

void cloudskin_atomic_store(size_t size, void *into, void *from, int order) {
  (void)order;
  lock(&atomics);
  memcpy(into, from, size);
  unlock(&atomics);
}

void cloudskin_atomic_exchange(size_t size, void *object, void *from, void *into, int order) {
  (void)order;
  lock(&atomics);
  memcpy(into, object, size);
  memcpy(object, from, size);
  unlock(&atomics);
}

_Bool cloudskin_atomic_compare_exchange(size_t size, void *object, void *expected, void *desired,
                                        int success, int failure) {
  (void)success;
  (void)failure;
  lock(&atomics);
  _Bool same = memcmp(object, expected, size) == 0;
  if (same)
    memcpy(object, desired, size);
  else
    memcpy(expected, object, size);
  unlock(&atomics);
  return same;
}

/* `#pragma omp error at(execution)`. */
enum { FATAL = 2 };
void __kmpc_error(void *place, int severity, const char *message) {
  (void)place;
  fprintf(stderr, "%s: %s\n", severity == FATAL ? "error" : "warning", message ? message : "");
  if (severity == FATAL)
    exit(1);
}

/* What the host calls for a thread: through the table, for an exported function of a command runs
   all constructors before and all destructors after. */
void __wasm_init_tls(void *);
typedef void (*Function)(void);
const Function cloudskin_threads[3] = {
    (Function)__wrap_malloc,
    (Function)__wrap_free,
    (Function)__wasm_init_tls,
};
