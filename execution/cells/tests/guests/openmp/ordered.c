/* ordered: iterations in their order, and simd. */
#include "check.h"

#define COUNT 100

#define IN_ORDER(name, schedule)                                                                   \
  static void name(void) {                                                                         \
    int next = 0, outside = 0, order[COUNT];                                                       \
    _Pragma(schedule) for (int i = 0; i < COUNT; i++) {                                            \
      _Pragma("omp atomic") outside++;                                                             \
      _Pragma("omp ordered") { order[next++] = i; }                                                \
    }                                                                                              \
    CHECK(next == COUNT && outside == COUNT);                                                      \
    for (int i = 0; i < COUNT; i++)                                                                \
      CHECK(order[i] == i);                                                                        \
  }

IN_ORDER(plain, "omp parallel for ordered")
IN_ORDER(fixed, "omp parallel for ordered schedule(static)")
IN_ORDER(chunks, "omp parallel for ordered schedule(static, 3)")
IN_ORDER(dynamic, "omp parallel for ordered schedule(dynamic)")
IN_ORDER(dynamic_chunks, "omp parallel for ordered schedule(dynamic, 7)")
IN_ORDER(guided, "omp parallel for ordered schedule(guided)")
IN_ORDER(at_run_time, "omp parallel for ordered schedule(runtime)")
IN_ORDER(automatic, "omp parallel for ordered schedule(auto)")

static void sometimes(void) {
  int previous = -1, count = 0;
#pragma omp parallel for ordered schedule(dynamic, 2)
  for (int i = 0; i < COUNT; i++)
    if (i % 3 == 0) {
#pragma omp ordered
      {
        CHECK(previous < i);
        previous = i;
        count++;
      }
    }
  CHECK(count == 34);
}

static void backwards(void) {
  long long next = 50;
#pragma omp parallel for ordered schedule(dynamic) collapse(2)
  for (long long i = 50; i > 0; i -= 10)
    for (unsigned char j = 0; j < 10; j++) {
#pragma omp ordered
      {
        CHECK(next == i - j);
        next--;
      }
    }
  CHECK(next == 0);
}

static void several_loops(void) {
  int order[4] = {0};
#pragma omp parallel
  for (int loop = 0; loop < 4; loop++) {
#pragma omp for ordered nowait schedule(dynamic)
    for (int i = 0; i < 20; i++) {
#pragma omp ordered
      {
        CHECK(order[loop] == i);
        order[loop]++;
      }
    }
  }
  for (int loop = 0; loop < 4; loop++)
    CHECK(order[loop] == 20);
}

static void threads_and_simd(void) {
  int next = 0, sums[COUNT];
#pragma omp parallel for ordered schedule(static, 5)
  for (int i = 0; i < COUNT; i++) {
#pragma omp ordered threads
    CHECK(next++ == i);
  }
  next = 0;
#pragma omp simd
  for (int i = 0; i < COUNT; i++) {
#pragma omp ordered simd
    sums[i] = next++;
  }
  for (int i = 0; i < COUNT; i++)
    CHECK(sums[i] == i);
}

int main(void) {
  plain();
  fixed();
  chunks();
  dynamic();
  dynamic_chunks();
  guided();
  at_run_time();
  automatic();
  sometimes();
  backwards();
  several_loops();
  threads_and_simd();
  return end("ordered");
}
