/* for: every schedule with every kind of loop gives each iteration to one thread. */
#include "check.h"
#include <limits.h>

#define COUNT 240

static unsigned char seen[COUNT];

static void clear(void) { memset(seen, 0, sizeof seen); }

static int first_wrong(int count) {
  for (int i = 0; i < COUNT; i++)
    if (seen[i] != (i < count))
      return i;
  return -1;
}

#define MARK(number)                                                                               \
  do {                                                                                             \
    _Pragma("omp atomic") seen[number]++;                                                          \
  } while (0)

/* One loop of each form, with this schedule. */
#define LOOPS(name, ...)                                                                           \
  static void name(int chunk) {                                                                    \
    (void)chunk;                                                                                   \
    for (int count = 0; count <= COUNT; count = count * 3 + 1) {                                   \
      clear();                                                                                     \
      _Pragma("omp parallel") {                                                                    \
        _Pragma(__VA_ARGS__) for (int i = 0; i < count; i++) MARK(i);                              \
      }                                                                                            \
      CHECK(first_wrong(count) == -1);                                                             \
      clear();                                                                                     \
      _Pragma("omp parallel") {                                                                    \
        _Pragma(__VA_ARGS__) for (int i = 3 * count; i > 0; i -= 3) MARK(i / 3 - 1);               \
      }                                                                                            \
      CHECK(first_wrong(count) == -1);                                                             \
      clear();                                                                                     \
      _Pragma("omp parallel") {                                                                    \
        _Pragma(__VA_ARGS__) for (unsigned i = UINT_MAX - count; i != UINT_MAX; i++)               \
            MARK(i - (UINT_MAX - count));                                                          \
      }                                                                                            \
      CHECK(first_wrong(count) == -1);                                                             \
      clear();                                                                                     \
      _Pragma("omp parallel") {                                                                    \
        _Pragma(__VA_ARGS__) for (long long i = LLONG_MIN; i < LLONG_MIN + 5LL * count; i += 5)    \
            MARK((i - LLONG_MIN) / 5);                                                             \
      }                                                                                            \
      CHECK(first_wrong(count) == -1);                                                             \
      clear();                                                                                     \
      _Pragma("omp parallel") {                                                                    \
        _Pragma(__VA_ARGS__) for (unsigned long long i = ULLONG_MAX;                               \
                                  i > ULLONG_MAX - 7ULL * count; i -= 7)                           \
            MARK((ULLONG_MAX - i) / 7);                                                            \
      }                                                                                            \
      CHECK(first_wrong(count) == -1);                                                             \
    }                                                                                              \
  }

LOOPS(plain, "omp for")
LOOPS(fixed, "omp for schedule(static)")
LOOPS(fixed_chunk, "omp for schedule(static, chunk)")
LOOPS(dynamic, "omp for schedule(dynamic)")
LOOPS(dynamic_chunk, "omp for schedule(dynamic, chunk)")
LOOPS(guided, "omp for schedule(guided)")
LOOPS(guided_chunk, "omp for schedule(guided, chunk)")
LOOPS(automatic, "omp for schedule(auto)")
LOOPS(at_run_time, "omp for schedule(runtime)")
LOOPS(monotonic, "omp for schedule(monotonic : dynamic, chunk)")
LOOPS(nonmonotonic, "omp for schedule(nonmonotonic : dynamic, chunk)")

static void chosen(void) {
  const omp_sched_t kinds[] = {omp_sched_static, omp_sched_dynamic, omp_sched_guided,
                               omp_sched_auto};
  for (int kind = 0; kind < 4; kind++)
    for (int chunk = 0; chunk <= 3; chunk += 3) {
      omp_sched_t got;
      int got_chunk;
      omp_set_schedule(kinds[kind], chunk);
      omp_get_schedule(&got, &got_chunk);
      CHECK(((int)got & 0xff) == (int)kinds[kind]);
      if (chunk && kinds[kind] != omp_sched_auto)
        CHECK(got_chunk == chunk);
      at_run_time(0);
    }
}

/* Static chunks go to the threads in turn, and a block each without a chunk: the same in two loops
   of one length. */
static void fixed_places(int most) {
  int owner[100], again[100];
#pragma omp parallel
  {
#pragma omp for schedule(static, 3)
    for (int i = 0; i < 100; i++)
      owner[i] = omp_get_thread_num();
#pragma omp for schedule(static, 3) nowait
    for (int i = 0; i < 100; i++)
      CHECK(owner[i] == omp_get_thread_num());
  }
  for (int i = 0; i < 100; i++)
    CHECK(owner[i] == i / 3 % most);
#pragma omp parallel
  {
#pragma omp for schedule(static) nowait
    for (int i = 0; i < 100; i++)
      again[i] = omp_get_thread_num();
#pragma omp for schedule(static) nowait
    for (int i = 0; i < 100; i++)
      CHECK(again[i] == omp_get_thread_num());
  }
  for (int i = 1; i < 100; i++)
    CHECK(again[i] >= again[i - 1] && again[i] <= again[i - 1] + 1);
}

int main(void) {
  int most = omp_get_max_threads();
  plain(0);
  fixed(0);
  dynamic(0);
  guided(0);
  automatic(0);
  for (int chunk = 1; chunk <= 50; chunk = chunk * 4 + 3) {
    fixed_chunk(chunk);
    dynamic_chunk(chunk);
    guided_chunk(chunk);
    monotonic(chunk);
    nonmonotonic(chunk);
  }
  chosen();
  fixed_places(most);
  return end("schedules");
}
