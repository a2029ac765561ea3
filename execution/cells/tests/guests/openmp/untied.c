/* untied: tasks that may be left and resumed at every scheduling point. */
#include "check.h"

static int fibonacci(int n) {
  int a, b;
  if (n < 2)
    return n;
#pragma omp task untied shared(a)
  a = fibonacci(n - 1);
#pragma omp task untied shared(b)
  b = fibonacci(n - 2);
#pragma omp taskwait
  return a + b;
}

/* What a task has is still there after it was left. */
static void variables(void) {
  int done = 0;
#pragma omp parallel
#pragma omp single
  for (int i = 0; i < 50; i++) {
#pragma omp task untied firstprivate(i) shared(done)
    {
      int own = i * 3;
      double real = i + 0.5;
#pragma omp taskyield
      CHECK(own == i * 3 && real == i + 0.5);
      own++;
#pragma omp taskyield
      CHECK(own == i * 3 + 1);
      int child = 0;
#pragma omp task shared(child)
      child = i;
#pragma omp taskwait
      CHECK(child == i && own == i * 3 + 1);
#pragma omp atomic
      done++;
    }
  }
  CHECK(done == 50);
}

static void parents_wait(void) {
  int steps = 0;
#pragma omp parallel
#pragma omp single
  {
    for (int i = 0; i < 20; i++) {
#pragma omp task untied shared(steps)
      {
        for (int j = 0; j < 5; j++) {
#pragma omp task untied shared(steps)
          {
#pragma omp taskyield
#pragma omp atomic
            steps++;
          }
        }
#pragma omp taskwait
#pragma omp atomic
        steps++;
      }
    }
#pragma omp taskwait
    CHECK(steps >= 20);
  }
  CHECK(steps == 120);
}

static void groups(void) {
  int count = 0;
#pragma omp parallel
#pragma omp single
  {
#pragma omp taskgroup
    {
      for (int i = 0; i < 10; i++) {
#pragma omp task untied shared(count)
        {
#pragma omp taskyield
#pragma omp taskgroup
          {
#pragma omp task shared(count)
            {
#pragma omp atomic
              count += 4;
            }
          }
        }
      }
    }
    CHECK(count == 40);
  }
}

static void undeferred(void) {
#pragma omp parallel
#pragma omp single
  {
    int chain = 0;
#pragma omp task untied if (0) shared(chain)
    {
#pragma omp taskyield
      chain++;
    }
#pragma omp taskwait
    CHECK(chain == 1);
    for (int i = 0; i < 20; i++) {
#pragma omp task untied depend(inout : chain) shared(chain) firstprivate(i)
      {
        CHECK(chain == i + 1);
#pragma omp taskyield
        chain++;
      }
    }
#pragma omp taskwait
    CHECK(chain == 21);
  }
}

static void loops(void) {
  int sum = 0;
#pragma omp parallel
#pragma omp single
#pragma omp taskloop untied shared(sum) grainsize(3)
  for (int i = 0; i < 100; i++) {
#pragma omp atomic
    sum += i;
  }
  CHECK(sum == 4950);
}

int main(void) {
  int result = 0;
#pragma omp parallel
#pragma omp single
#pragma omp task untied shared(result)
  result = fibonacci(13);
  CHECK(result == 233);
  variables();
  parents_wait();
  groups();
  undeferred();
  loops();
  return end("untied");
}
