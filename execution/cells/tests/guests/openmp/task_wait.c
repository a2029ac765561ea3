/* taskwait, taskgroup and taskyield. */
#include "check.h"

static void spread(int depth, int *count) {
  for (int i = 0; i < 3; i++) {
#pragma omp task
    {
#pragma omp atomic
      ++*count;
      if (depth)
        spread(depth - 1, count);
    }
  }
}

/* taskwait is for children, taskgroup for all that come of them. */
static void waits(void) {
  int children = 0, all = 0;
#pragma omp parallel
#pragma omp single
  {
    for (int i = 0; i < 10; i++) {
#pragma omp task shared(children)
      {
#pragma omp task
        ;
#pragma omp atomic
        children++;
      }
    }
#pragma omp taskwait
    CHECK(children == 10);
#pragma omp taskgroup
    spread(3, &all);
    CHECK(all == 3 + 9 + 27 + 81);
#pragma omp taskwait
  }
}

static void nested_groups(void) {
  int inner = 0, outer = 0;
#pragma omp parallel
#pragma omp single
  {
#pragma omp taskgroup
    {
      for (int i = 0; i < 5; i++) {
#pragma omp task shared(inner, outer)
        {
#pragma omp taskgroup
          {
            for (int j = 0; j < 5; j++) {
#pragma omp task shared(inner)
              {
#pragma omp atomic
                inner++;
              }
            }
          }
          int seen;
#pragma omp atomic read
          seen = inner;
          CHECK(seen >= 5);
#pragma omp atomic
          outer++;
        }
      }
    }
    CHECK(inner == 25 && outer == 5);
  }
}

/* All threads wait for their own children at the same time. */
static void everybody(int most) {
  int all = 0;
#pragma omp parallel
  {
    int own = 0;
    for (int round = 0; round < 10; round++) {
      for (int i = 0; i < 10; i++) {
#pragma omp task shared(own, all)
        {
#pragma omp atomic
          own++;
#pragma omp atomic
          all++;
        }
      }
#pragma omp taskwait
      CHECK(own == 10 * (round + 1));
    }
  }
  CHECK(all == 100 * most);
}

/* Who yields may run others meanwhile; nothing is lost. */
static void yields(void) {
  int count = 0;
#pragma omp parallel
#pragma omp single
  for (int i = 0; i < 50; i++) {
#pragma omp task shared(count) firstprivate(i)
    {
      int own = i;
#pragma omp taskyield
      CHECK(own == i);
#pragma omp atomic
      count++;
    }
  }
#pragma omp taskyield
  CHECK(count == 50);
}

/* A lock that a task holds while it yields is not asked for by a tied task above it. */
static void locks(void) {
  omp_lock_t lock;
  int count = 0;
  omp_init_lock(&lock);
#pragma omp parallel
#pragma omp single
  for (int i = 0; i < 40; i++) {
#pragma omp task shared(count, lock)
    {
      while (!omp_test_lock(&lock)) {
#pragma omp taskyield
      }
      count++;
      omp_unset_lock(&lock);
    }
  }
  CHECK(count == 40);
  omp_destroy_lock(&lock);
}

int main(void) {
  waits();
  nested_groups();
  everybody(omp_get_max_threads());
  yields();
  locks();
  return end("task_wait");
}
