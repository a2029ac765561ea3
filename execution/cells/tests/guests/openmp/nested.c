/* Regions within regions, and what each is told of those around it. */
#include "check.h"

static void serialised(int most) {
  int inner = 0;
  omp_set_max_active_levels(1);
#pragma omp parallel reduction(+ : inner)
  {
    int outer = omp_get_thread_num();
#pragma omp parallel num_threads(4) reduction(+ : inner)
    {
      CHECK(omp_get_num_threads() == (most > 1 ? 1 : 4) || most == 1);
      CHECK(omp_get_level() == 2);
      CHECK(omp_get_ancestor_thread_num(1) == outer);
      CHECK(omp_get_team_size(1) == most);
      inner++;
    }
  }
  if (most > 1)
    CHECK(inner == most);
}

static void active(void) {
  int count = 0;
  omp_set_max_active_levels(3);
  CHECK(omp_get_max_active_levels() == 3);
#pragma omp parallel num_threads(2) shared(count)
  {
    int first = omp_get_thread_num();
    CHECK(omp_get_level() == 1 && omp_get_active_level() == 1);
#pragma omp parallel num_threads(3) shared(count, first)
    {
      int second = omp_get_thread_num();
      CHECK(omp_get_num_threads() == 3);
      CHECK(omp_get_level() == 2 && omp_get_active_level() == 2);
      CHECK(omp_get_ancestor_thread_num(0) == 0 && omp_get_team_size(0) == 1);
      CHECK(omp_get_ancestor_thread_num(1) == first && omp_get_team_size(1) == 2);
      CHECK(omp_get_ancestor_thread_num(2) == second && omp_get_team_size(2) == 3);
      CHECK(omp_get_ancestor_thread_num(3) == -1 && omp_get_team_size(3) == -1);
      CHECK(omp_get_ancestor_thread_num(-1) == -1 && omp_get_team_size(-1) == -1);
#pragma omp parallel if (0)
      {
        CHECK(omp_get_level() == 3 && omp_get_active_level() == 2);
        CHECK(omp_get_num_threads() == 1 && omp_get_thread_num() == 0);
        CHECK(omp_get_ancestor_thread_num(2) == second);
#pragma omp parallel num_threads(2)
        {
          CHECK(omp_get_num_threads() == 2);
          CHECK(omp_get_level() == 4 && omp_get_active_level() == 3);
#pragma omp parallel num_threads(2)
          {
            CHECK(omp_get_num_threads() == 1 && omp_get_level() == 5);
#pragma omp atomic
            count++;
          }
        }
      }
    }
  }
  CHECK(count == 12);
}

/* Loops, barriers and single regions of inner teams do not disturb the outer one. */
static void inner_work(int most) {
  long sum = 0;
  omp_set_max_active_levels(2);
#pragma omp parallel for schedule(dynamic) reduction(+ : sum)
  for (int i = 0; i < 8; i++) {
    long own = 0;
    int singles = 0;
#pragma omp parallel num_threads(2) shared(own, singles)
    {
#pragma omp for schedule(dynamic, 3) reduction(+ : own)
      for (int j = 0; j < 100; j++)
        own += j;
#pragma omp single
      singles++;
      CHECK(own == 4950);
    }
    CHECK(singles == 1);
    sum += own;
  }
  CHECK(sum == 8 * 4950);
  CHECK(omp_get_max_threads() == most);
}

/* What a thread sets for itself is its own, and its regions' threads have it. */
static void own_settings(void) {
  int sizes[2] = {0, 0};
  omp_set_max_active_levels(2);
#pragma omp parallel num_threads(2)
  {
    int me = omp_get_thread_num();
    omp_set_num_threads(me + 2);
#pragma omp barrier
    CHECK(omp_get_max_threads() == me + 2);
#pragma omp parallel
    {
#pragma omp single
      sizes[me] = omp_get_num_threads();
    }
  }
  CHECK(sizes[0] == 2 && sizes[1] == 3);
}

int main(void) {
  int most = omp_get_max_threads();
  CHECK(omp_get_level() == 0 && omp_get_active_level() == 0);
  serialised(most);
  for (int i = 0; i < 5; i++)
    active();
  inner_work(most);
  own_settings();
  CHECK(omp_get_max_threads() == most);
  return end("nested");
}
