/* task: recursion, data, and the clauses that say when it runs. */
#include "check.h"

static int fibonacci(int n) {
  int a, b;
  if (n < 2)
    return n;
#pragma omp task shared(a) if (n > 5)
  a = fibonacci(n - 1);
#pragma omp task shared(b) final(n < 8) mergeable
  b = fibonacci(n - 2);
#pragma omp taskwait
  return a + b;
}

static void once_each(int most) {
  static int ran[300];
  memset(ran, 0, sizeof ran);
#pragma omp parallel
#pragma omp single
  for (int i = 0; i < 300; i++) {
#pragma omp task firstprivate(i)
    {
      ran[i]++;
      CHECK(omp_get_thread_num() < most);
    }
  }
  for (int i = 0; i < 300; i++)
    CHECK(ran[i] == 1);
  /* Made by every thread. */
  int count = 0;
#pragma omp parallel
  for (int i = 0; i < 50; i++) {
#pragma omp task
    {
#pragma omp atomic
      count++;
    }
  }
  CHECK(count == 50 * most);
}

struct Big {
  int numbers[500];
};

static void data(void) {
  struct Big big;
  int sum = 0, array[4] = {1, 2, 3, 4}, own = 9;
  for (int i = 0; i < 500; i++)
    big.numbers[i] = i;
#pragma omp parallel shared(sum) firstprivate(big, array) private(own)
#pragma omp single
  for (int i = 0; i < 20; i++) {
    own = i;
#pragma omp task firstprivate(big, array, own) shared(sum)
    {
      big.numbers[499] += own;
      array[3] += own;
      CHECK(big.numbers[499] == 499 + own && array[3] == 4 + own);
#pragma omp atomic
      sum += own;
    }
    array[3] = 4;
  }
  CHECK(sum == 190);
}

static void undeferred(void) {
#pragma omp parallel
#pragma omp single
  {
    int done = 0, me = omp_get_thread_num();
#pragma omp task if (0) shared(done)
    {
      CHECK(omp_get_thread_num() == me);
      done = 1;
    }
    CHECK(done == 1);
#pragma omp task final(1) shared(done)
    {
      CHECK(omp_in_final());
      int within = 0;
#pragma omp task shared(within)
      {
        CHECK(omp_in_final());
        within = 1;
      }
      CHECK(within == 1);
#pragma omp atomic write
      done = 2;
    }
#pragma omp taskwait
    CHECK(done == 2 && !omp_in_final());
  }
}

static void outside_of_regions(void) {
  int count = 0;
#pragma omp task shared(count)
  count++;
#pragma omp taskwait
  CHECK(count == 1 && fibonacci(10) == 55);
#pragma omp taskgroup
  {
#pragma omp task shared(count)
    count++;
  }
  CHECK(count == 2);
}

/* Tasks of tasks, which nobody but the barrier waits for. */
static void spread(int depth, int *count) {
#pragma omp atomic
  ++*count;
  for (int i = 0; depth && i < 3; i++) {
#pragma omp task
    spread(depth - 1, count);
  }
}

static void barriers_complete_tasks(void) {
  int count = 0;
#pragma omp parallel
  {
#pragma omp single nowait
    spread(5, &count);
#pragma omp barrier
    CHECK(count == 364);
  }
}

static void settings(void) {
#pragma omp parallel
#pragma omp single
  {
    omp_set_num_threads(3);
#pragma omp task
    {
      CHECK(omp_get_max_threads() == 3);
      omp_set_num_threads(6);
      CHECK(omp_get_max_threads() == 6);
    }
#pragma omp taskwait
    CHECK(omp_get_max_threads() == 3);
  }
}

static void priorities(void) {
  int count = 0;
#pragma omp parallel
#pragma omp single
  for (int i = 0; i < 60; i++) {
#pragma omp task priority(i % 5) shared(count)
    {
#pragma omp atomic
      count++;
    }
  }
  CHECK(count == 60);
}

/* A region within a task has a team of its own. */
static void regions_within(void) {
  int count = 0;
#pragma omp parallel
#pragma omp single
  for (int i = 0; i < 10; i++) {
#pragma omp task shared(count)
    {
#pragma omp parallel num_threads(2) shared(count)
      {
#pragma omp for
        for (int j = 0; j < 10; j++) {
#pragma omp atomic
          count++;
        }
      }
    }
  }
  CHECK(count == 100);
}

/* Far more than may wait. */
static void very_many(void) {
  int count = 0;
#pragma omp parallel
#pragma omp single
  for (int i = 0; i < 20000; i++) {
#pragma omp task shared(count)
    {
#pragma omp atomic
      count++;
    }
  }
  CHECK(count == 20000);
}

int main(void) {
  int most = omp_get_max_threads(), result = 0;
  once_each(most);
  data();
  undeferred();
  outside_of_regions();
  barriers_complete_tasks();
  settings();
  priorities();
  regions_within();
  very_many();
#pragma omp parallel
#pragma omp single
  result = fibonacci(16);
  CHECK(result == 987);
  return end("tasks");
}
