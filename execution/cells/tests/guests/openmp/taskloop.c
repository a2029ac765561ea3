/* taskloop: how it is cut, its data, and what waits for it. */
#include "check.h"

#define COUNT 120

static void every_iteration(int threads) {
  static int ran[COUNT];
  memset(ran, 0, sizeof ran);
#pragma omp parallel num_threads(threads)
#pragma omp single
  {
#pragma omp taskloop
    for (int i = 0; i < COUNT; i++)
      ran[i]++;
    for (int i = 0; i < COUNT; i++)
      CHECK(ran[i] == 1);
#pragma omp taskloop grainsize(7)
    for (int i = COUNT - 1; i >= 0; i--)
      ran[i]++;
#pragma omp taskloop num_tasks(5)
    for (unsigned long long i = 0; i < 3 * COUNT; i += 3)
      ran[i / 3]++;
#pragma omp taskloop collapse(2) num_tasks(9)
    for (int i = 0; i < COUNT / 10; i++)
      for (int j = 0; j < 10; j++)
        ran[i * 10 + j]++;
#pragma omp taskloop simd
    for (long long i = 0; i < COUNT; i++)
      ran[i]++;
#pragma omp taskloop if (0)
    for (int i = 0; i < COUNT; i++)
      ran[i]++;
#pragma omp taskloop final(1)
    for (int i = 0; i < COUNT; i++)
      ran[i]++;
#pragma omp taskloop
    for (int i = 0; i < 0; i++)
      ran[i]++;
  }
  for (int i = 0; i < COUNT; i++)
    CHECK(ran[i] == 7);
}

/* Iterations of one task are neighbours and run in their order by one thread. */
static void pieces(void) {
  int pieces = 0;
#pragma omp parallel
#pragma omp single
  {
    int own = 0;
#pragma omp taskloop num_tasks(6) firstprivate(own) shared(pieces)
    for (int i = 0; i < COUNT; i++) {
      if (own++ == 0) {
#pragma omp atomic
        pieces++;
      }
    }
    CHECK(pieces == 6);
    pieces = 0;
#pragma omp taskloop grainsize(10) firstprivate(own) shared(pieces)
    for (int i = 0; i < 101; i++) {
      if (own++ == 0) {
#pragma omp atomic
        pieces++;
      }
    }
    CHECK(pieces > 5 && pieces <= 10);
  }
}

static void data(void) {
  int last = -1, begun = 5, own = 0, sum = 0;
#pragma omp parallel
#pragma omp single
  {
#pragma omp taskloop lastprivate(last) firstprivate(begun) private(own) shared(sum) num_tasks(8)
    for (int i = 0; i < COUNT; i++) {
      own = i + begun;
      last = i;
#pragma omp atomic
      sum += own;
    }
    CHECK(last == COUNT - 1);
  }
  CHECK(sum == COUNT * (COUNT - 1) / 2 + 5 * COUNT);
}

static void without_group(void) {
  int count = 0;
#pragma omp parallel
#pragma omp single
  {
#pragma omp taskgroup
    {
#pragma omp taskloop nogroup shared(count)
      for (int i = 0; i < COUNT; i++) {
#pragma omp atomic
        count++;
      }
    }
    CHECK(count == COUNT);
#pragma omp taskloop nogroup shared(count)
    for (int i = 0; i < COUNT; i++) {
#pragma omp atomic
      count++;
    }
#pragma omp taskwait
    CHECK(count == 2 * COUNT);
  }
}

/* The loop waits for tasks that its iterations make. */
static void nested(void) {
  int count = 0;
#pragma omp parallel
#pragma omp single
  {
#pragma omp taskloop shared(count) grainsize(4) priority(2)
    for (int i = 0; i < 20; i++) {
#pragma omp taskloop shared(count)
      for (int j = 0; j < 10; j++) {
#pragma omp atomic
        count++;
      }
#pragma omp task shared(count)
      {
#pragma omp atomic
        count++;
      }
    }
    CHECK(count == 220);
  }
}

static void combined(void) {
#if defined(__clang__)
  int sum = 0;
#pragma omp parallel master taskloop reduction(+ : sum)
  for (int i = 0; i < COUNT; i++)
    sum += i;
#pragma omp parallel master taskloop simd reduction(+ : sum)
  for (int i = 0; i < COUNT; i++)
    sum += i;
#pragma omp parallel
#pragma omp master taskloop reduction(+ : sum) collapse(2)
  for (int i = 0; i < 10; i++)
    for (int j = 0; j < 10; j++)
      sum += 1;
  CHECK(sum == COUNT * (COUNT - 1) + 100);
#endif
}

int main(void) {
  int most = omp_get_max_threads();
  every_iteration(most);
  every_iteration(1);
  pieces();
  data();
  without_group();
  nested();
  combined();
  return end("taskloop");
}
