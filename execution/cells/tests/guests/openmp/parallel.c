/* parallel: its threads, its clauses. */
#include "check.h"

static int copied = 3;
#pragma omp threadprivate(copied)

static void threads(int most) {
  int seen[64] = {0}, count = 0;
#pragma omp parallel shared(seen, count)
  {
    CHECK(omp_get_num_threads() == most);
    CHECK(omp_in_parallel() == (most > 1));
    seen[omp_get_thread_num()]++;
#pragma omp atomic
    count++;
  }
  CHECK(count == most);
  for (int i = 0; i < most; i++)
    CHECK(seen[i] == 1);
  CHECK(!omp_in_parallel());
  CHECK(omp_get_num_threads() == 1 && omp_get_thread_num() == 0);
}

static void sizes(int most) {
  for (int asked = 1; asked <= 8; asked++) {
    int count = 0, said = 0;
#pragma omp parallel num_threads(asked)
    {
#pragma omp atomic
      count++;
#pragma omp single
      said = omp_get_num_threads();
    }
    CHECK(count == asked && said == asked);
  }
  /* The clause is for one region; the function for all that follow. */
  CHECK(omp_get_max_threads() == most);
  omp_set_num_threads(5);
  int count = 0;
#pragma omp parallel reduction(+ : count)
  count++;
  CHECK(count == 5 && omp_get_max_threads() == 5);
  omp_set_num_threads(most);
}

static void conditions(int most) {
  for (int wanted = 0; wanted < 2; wanted++) {
    int count = 0;
#pragma omp parallel if (wanted) reduction(+ : count)
    {
      count++;
      CHECK(omp_get_level() == 1);
      CHECK(omp_get_active_level() == (wanted && most > 1));
    }
    CHECK(count == (wanted ? most : 1));
#pragma omp parallel if (parallel : wanted) num_threads(3) reduction(+ : count)
    count++;
  }
  int both = 0;
#pragma omp parallel if (0) num_threads(4)
  both++;
  CHECK(both == 1);
}

struct Big {
  char letters[100];
  double number;
};

static void data(int most) {
  int own = 7, begun = 11, all = 0, array[5] = {1, 2, 3, 4, 5}, sum = 0;
  struct Big big = {"letters", 2.5};
  int *pointer = &all;
#pragma omp parallel default(none) private(own) firstprivate(begun, array, big, pointer)           \
    shared(all, complaints, most) reduction(+ : sum)
  {
    own = omp_get_thread_num();
    CHECK(begun == 11 && array[4] == 5 && big.number == 2.5 && !strcmp(big.letters, "letters"));
    begun += own;
    array[4] += own;
    big.number += own;
    CHECK(pointer == &all);
#pragma omp barrier
    CHECK(own == omp_get_thread_num() && begun == 11 + own && array[4] == 5 + own);
    CHECK(big.number == 2.5 + own);
#pragma omp atomic
    all += 1;
    sum += begun;
  }
  CHECK(all == most && begun == 11 && own == 7 && array[4] == 5 && big.number == 2.5);
  CHECK(sum == 11 * most + most * (most - 1) / 2);
}

static void copies(int most) {
  copied = 42;
  int right = 0;
#pragma omp parallel copyin(copied) reduction(+ : right)
  {
    right += copied == 42;
    copied = omp_get_thread_num();
  }
  CHECK(right == most && copied == 0);
}

static int variable_length(int length) {
  int array[length], sum = 0;
  for (int i = 0; i < length; i++)
    array[i] = i;
#pragma omp parallel firstprivate(array) reduction(+ : sum)
  {
    for (int i = 0; i < length; i++)
      array[i] += omp_get_thread_num();
#pragma omp barrier
    for (int i = 0; i < length; i++)
      sum += array[i] - i;
  }
  return sum;
}

static void bound(int most) {
  int count = 0;
#pragma omp parallel proc_bind(close) reduction(+ : count)
  count++;
#pragma omp parallel proc_bind(spread) reduction(+ : count)
  count++;
#pragma omp parallel proc_bind(master) reduction(+ : count)
  count++;
  CHECK(count == 3 * most);
}

int main(void) {
  int most = omp_get_max_threads();
  for (int i = 0; i < 20; i++)
    threads(most);
  sizes(most);
  conditions(most);
  data(most);
  copies(most);
  CHECK(variable_length(10) == 10 * most * (most - 1) / 2);
  bound(most);
  return end("parallel");
}
