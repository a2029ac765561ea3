/* critical: one thread at a time, for each name. */
#include "check.h"

static int unnamed, first, second, hinted;

static void elsewhere(void) {
#pragma omp critical(first)
  first++;
}

static void exclude(int most) {
  int inside = 0;
#pragma omp parallel
  for (int i = 0; i < 200; i++) {
#pragma omp critical
    {
      CHECK(inside++ == 0);
      unnamed++;
      inside--;
    }
#pragma omp critical(first)
    first++;
    elsewhere();
#pragma omp critical(second)
    {
      second++;
      /* Another name within one is no wait for itself. */
#pragma omp critical(third)
      second++;
    }
#pragma omp critical(hinted) hint(omp_lock_hint_contended)
    hinted++;
  }
  CHECK(unnamed == 200 * most && first == 400 * most && second == 400 * most);
  CHECK(hinted == 200 * most);
}

/* Two names do not exclude each other: with two threads, one waits within `left` until the other
   has been within `right`. */
static void names_are_independent(int most) {
  int reached = 0;
  if (most < 2)
    return;
#pragma omp parallel num_threads(2)
  {
    if (omp_get_thread_num() == 0) {
#pragma omp critical(left)
      {
        int seen = 0;
        while (!seen) {
#pragma omp atomic read seq_cst
          seen = reached;
        }
      }
    } else {
#pragma omp critical(right)
      {
#pragma omp atomic write seq_cst
        reached = 1;
      }
    }
  }
  CHECK(reached == 1);
}

/* The maximum and where it is, kept together. */
static void pairs(void) {
  int most = -1, where = -1;
#pragma omp parallel for schedule(dynamic, 3)
  for (int i = 0; i < 500; i++) {
    int value = i * 7919 % 1009;
#pragma omp critical
    if (value > most || (value == most && i < where)) {
      most = value;
      where = i;
    }
  }
  CHECK(where >= 0 && where * 7919 % 1009 == most);
  for (int i = 0; i < 500; i++)
    CHECK(i * 7919 % 1009 <= most);
}

int main(void) {
  exclude(omp_get_max_threads());
  names_are_independent(omp_get_max_threads());
  pairs();
  return end("critical");
}
