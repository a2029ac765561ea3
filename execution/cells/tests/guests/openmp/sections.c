/* sections: each runs once. */
#include "check.h"

static void each_once(void) {
  int ran[5] = {0}, last = 0, sum = 0, begun = 10;
#pragma omp parallel
  {
#pragma omp sections lastprivate(last) firstprivate(begun) reduction(+ : sum)
    {
#pragma omp section
      {
        ran[0]++;
        last = 1;
        sum += begun;
      }
#pragma omp section
      {
        ran[1]++;
        last = 2;
        sum += 20;
      }
#pragma omp section
      {
        ran[2]++;
        last = 3;
        sum += 30;
      }
    }
    CHECK(last == 3 && sum == 60 && ran[0] == 1 && ran[1] == 1 && ran[2] == 1);
#pragma omp sections nowait
    {
      ran[3]++;
#pragma omp section
      ran[4]++;
    }
#pragma omp barrier
    CHECK(ran[3] == 1 && ran[4] == 1);
  }
}

static void combined(void) {
  int ran = 0, own = 0;
#pragma omp parallel sections private(own) reduction(+ : ran) num_threads(3)
  {
    own = 1, ran += own;
#pragma omp section
    own = 2, ran += own;
#pragma omp section
    own = 4, ran += own;
#pragma omp section
    own = 8, ran += own;
  }
  CHECK(ran == 15);
}

static void one_section(int most) {
  int ran = 0;
#pragma omp parallel
  for (int round = 0; round < 50; round++) {
#pragma omp sections
    {
#pragma omp section
      ran++;
    }
    CHECK(ran == round + 1);
#pragma omp barrier
  }
  CHECK(ran == 50);
  (void)most;
}

/* Two sections that run at the same time can hand things to and fro; one thread would wait for
   ever, so this is for two at least. */
static void together(int most) {
  int turn = 0;
  if (most < 2)
    return;
#pragma omp parallel sections num_threads(2) shared(turn)
  {
#pragma omp section
    for (int i = 0; i < 10; i++) {
      int seen;
      do {
#pragma omp atomic read seq_cst
        seen = turn;
      } while (seen != 2 * i);
#pragma omp atomic write seq_cst
      turn = 2 * i + 1;
    }
#pragma omp section
    for (int i = 0; i < 10; i++) {
      int seen;
      do {
#pragma omp atomic read seq_cst
        seen = turn;
      } while (seen != 2 * i + 1);
#pragma omp atomic write seq_cst
      turn = 2 * i + 2;
    }
  }
  CHECK(turn == 20);
}

int main(void) {
  int most = omp_get_max_threads();
  for (int i = 0; i < 10; i++)
    each_once();
  combined();
  one_section(most);
  together(most);
  return end("sections");
}
