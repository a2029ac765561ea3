/* single, master and masked. */
#include "check.h"

static void once(void) {
  int count = 0;
#pragma omp parallel
  for (int i = 0; i < 200; i++) {
#pragma omp single
    count++;
    CHECK(count == i + 1);
#pragma omp barrier
  }
  CHECK(count == 200);
}

static void without_waiting(void) {
  int count = 0;
#pragma omp parallel
  for (int i = 0; i < 500; i++) {
#pragma omp single nowait
    {
#pragma omp atomic
      count++;
    }
  }
  CHECK(count == 500);
}

static void handed_on(int most) {
  int right = 0;
#pragma omp parallel reduction(+ : right)
  for (int round = 0; round < 20; round++) {
    int number = -1, array[4] = {0};
    double real = 0;
    struct { char a; long long b; } pair = {0, 0};
    int *pointer = NULL;
    static int target;
#pragma omp single copyprivate(number, array, real, pair, pointer)
    {
      number = round;
      array[3] = round * 3;
      real = round + 0.25;
      pair.b = round * 1000000007LL;
      pointer = &target;
    }
    right += number == round && array[3] == round * 3 && real == round + 0.25 &&
             pair.b == round * 1000000007LL && pointer == &target;
  }
  CHECK(right == 20 * most);
}

static void private_data(int most) {
  int begun = 5, own = 0, sum = 0;
#pragma omp parallel shared(sum)
  {
#pragma omp single firstprivate(begun) private(own)
    {
      own = begun + 1;
      begun = 100;
      sum += own;
    }
  }
  CHECK(sum == 6 && begun == 5);
  (void)most;
}

static void masters(int most) {
  int count = 0, wrong = 0, masked = 0;
#pragma omp parallel reduction(+ : wrong)
  for (int i = 0; i < 50; i++) {
#pragma omp master
    {
      count++;
      wrong += omp_get_thread_num() != 0;
    }
#if defined(_OPENMP) && defined(__clang__)
#pragma omp masked
    wrong += omp_get_thread_num() != 0;
#pragma omp masked filter(most - 1)
    {
      masked++;
      wrong += omp_get_thread_num() != most - 1;
    }
#endif
  }
  CHECK(count == 50 && wrong == 0);
  (void)masked;
#if defined(__clang__)
  CHECK(masked == 50);
  int sum = 0;
#pragma omp parallel
#pragma omp masked
#pragma omp taskloop reduction(+ : sum)
  for (int i = 0; i < 10; i++)
    sum += i;
  CHECK(sum == 45);
#endif
}

int main(void) {
  int most = omp_get_max_threads();
  once();
  without_waiting();
  handed_on(most);
  private_data(most);
  masters(most);
  return end("single");
}
