/* barrier and flush. */
#include "check.h"

static void phases(int most) {
  static int written[64];
#pragma omp parallel
  {
    int me = omp_get_thread_num(), next = (me + 1) % most;
    for (int i = 1; i <= 300; i++) {
      written[me] = i;
#pragma omp barrier
      CHECK(written[next] == i);
#pragma omp barrier
    }
  }
}

static void called(void) {
#pragma omp barrier
}

/* Barriers in functions, and outside of regions. */
static void orphans(int most) {
  int count = 0;
  called();
#pragma omp parallel
  {
#pragma omp atomic
    count++;
    called();
    CHECK(count == most);
  }
}

/* A thread that comes late is waited for. */
static void late(int most) {
  int arrived = 0;
#pragma omp parallel
  for (int round = 0; round < 5; round++) {
    if (omp_get_thread_num() == round % most) {
      double until = omp_get_wtime() + 0.001;
      while (omp_get_wtime() < until)
        ;
#pragma omp atomic write
      arrived = round + 1;
    }
#pragma omp barrier
    CHECK(arrived == round + 1);
#pragma omp barrier
  }
}

/* A value, then a flag that says it is there. */
static void handed_over(int most) {
  int value = 0, ready = 0;
  if (most < 2)
    return;
#pragma omp parallel num_threads(2) shared(value, ready)
  {
    if (omp_get_thread_num() == 0) {
      value = 42;
#pragma omp flush
#pragma omp atomic write
      ready = 1;
#pragma omp flush(ready)
    } else {
      int seen = 0;
      while (!seen) {
#pragma omp flush
#pragma omp atomic read
        seen = ready;
      }
#pragma omp flush
      CHECK(value == 42);
    }
  }
}

int main(void) {
  int most = omp_get_max_threads();
  phases(most);
  orphans(most);
  late(most);
  handed_over(most);
  return end("barrier");
}
