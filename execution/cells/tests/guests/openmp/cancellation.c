/* cancel and cancellation point; with OMP_CANCELLATION=true constructs end early, else not. */
#include "check.h"

#define COUNT 400

static void loops(int on, int most) {
  int ran = 0, after = 0, sum = 0;
  for (int round = 0; round < 10; round++) {
    ran = after = sum = 0;
#pragma omp parallel shared(ran, after, sum)
    {
#pragma omp for schedule(static, 1)
      for (int i = 0; i < COUNT; i++) {
#pragma omp atomic
        ran++;
#pragma omp cancel for if (i == 0)
        if (i > 0) {
#pragma omp cancellation point for
        }
      }
      /* The region goes on after its loop. */
#pragma omp atomic
      after++;
#pragma omp barrier
      CHECK(after == most);
#pragma omp for reduction(+ : sum)
      for (int i = 0; i < 10; i++)
        sum++;
      CHECK(sum == 10);
#pragma omp atomic
      after++;
    }
    CHECK(after == 2 * most);
    CHECK(on ? ran >= 1 && ran <= COUNT : ran == COUNT);
    if (on && most == 1)
      CHECK(ran == 1);
  }
}

static void dynamic_loops(int on) {
  int found = -1, ran = 0;
#pragma omp parallel for schedule(dynamic) shared(found, ran)
  for (int i = 0; i < COUNT; i++) {
#pragma omp atomic
    ran++;
    if (i == 5) {
#pragma omp atomic write
      found = i;
#pragma omp cancel for
    }
#pragma omp cancellation point for
  }
  CHECK(found == 5);
  CHECK(on ? ran <= COUNT : ran == COUNT);
}

static void many_sections(int on, int most) {
  int ran = 0, after = 0;
#pragma omp parallel shared(ran, after)
  {
#pragma omp sections
    {
#pragma omp section
      {
#pragma omp atomic
        ran++;
#pragma omp cancel sections
      }
#pragma omp section
      {
#pragma omp cancellation point sections
#pragma omp atomic
        ran++;
      }
#pragma omp section
      {
#pragma omp cancellation point sections
#pragma omp atomic
        ran++;
      }
    }
#pragma omp atomic
    after++;
  }
  CHECK(after == most && ran >= 1 && ran <= 3);
  if (!on)
    CHECK(ran == 3);
  if (on && most == 1)
    CHECK(ran == 1);
}

/* One thread ends the region; the others leave at a cancellation point, at a barrier, or at the
   region's end. */
static void regions(int on, int most) {
  for (int way = 0; way < 4; way++)
    for (int round = 0; round < 10; round++) {
      int began = 0, ended = 0;
#pragma omp parallel shared(began, ended)
      {
        int me = omp_get_thread_num(), quits = 0;
#pragma omp atomic
        began++;
        if (way == 3) {
          /* All at once. */
#pragma omp cancel parallel
        } else if (me == most - 1) {
          quits = 1;
#pragma omp cancel parallel
        }
        if (on)
          CHECK(!quits && way < 3);
        if (way == 0) {
          for (int i = 0; i < 100; i++) {
#pragma omp cancellation point parallel
          }
#pragma omp atomic
          ended++;
        } else if (way == 1) {
#pragma omp barrier
          if (on)
            CHECK(0);
#pragma omp atomic
          ended++;
        }
      }
      CHECK(began == most);
      if (on)
        CHECK(ended < most || way > 1);
    }
  int sum = 0;
#pragma omp parallel reduction(+ : sum)
  sum++;
  CHECK(sum == most);
}

/* A loop with tasks within a region that is ended: they are discarded or done, never waited for in
   vain. */
static void regions_with_tasks(int most) {
  int began = 0;
#pragma omp parallel shared(began)
  {
#pragma omp atomic
    began++;
    for (int i = 0; i < 20; i++) {
#pragma omp task
      {
        volatile int work = 0;
        while (work < 100)
          work++;
      }
    }
#pragma omp cancel parallel
  }
  CHECK(began == most);
}

static void groups(int on) {
  for (int round = 0; round < 10; round++) {
    int ran = 0, others = 0;
#pragma omp parallel shared(ran, others)
#pragma omp single
    {
#pragma omp task shared(others)
      {
#pragma omp atomic
        others++;
      }
#pragma omp taskgroup
      {
        for (int i = 0; i < 100; i++) {
#pragma omp task shared(ran) firstprivate(i)
          {
#pragma omp cancellation point taskgroup
#pragma omp atomic
            ran++;
            if (i == 3) {
#pragma omp cancel taskgroup
#pragma omp atomic
              ran += 1000;
            }
          }
        }
      }
      CHECK(on ? ran < 1000 : ran == 1100);
      int later = 0;
#pragma omp taskgroup
      {
#pragma omp task shared(later)
        later = 1;
      }
      CHECK(later == 1);
    }
    CHECK(others == 1);
  }
}

/* A search in a tree that ends when something is found. */
static void search(int depth, int path, int *found) {
  for (int i = 0; depth && i < 2; i++) {
#pragma omp task firstprivate(i)
    {
      int here = path * 2 + i;
      search(depth - 1, here, found);
      if (depth == 1 && here % 50 == 17) {
#pragma omp atomic write
        *found = here;
#pragma omp cancel taskgroup
      }
#pragma omp cancellation point taskgroup
    }
  }
#pragma omp taskwait
}

static void searches(void) {
  int found = -1;
#pragma omp parallel
#pragma omp single
#pragma omp taskgroup
  search(8, 0, &found);
  CHECK(found % 50 == 17);
}

int main(void) {
  int on = omp_get_cancellation(), most = omp_get_max_threads();
  const char *variable = getenv("OMP_CANCELLATION");
  CHECK(on == (variable && !strcmp(variable, "true")));
  loops(on, most);
  dynamic_loops(on);
  many_sections(on, most);
  regions(on, most);
  regions_with_tasks(most);
  groups(on);
  searches();
  return end("cancellation");
}
