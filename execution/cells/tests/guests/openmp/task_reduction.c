/* task_reduction and in_reduction, and the task modifier. */
#include "check.h"

#if defined(__clang__) || __GNUC__ >= 9

struct Pair {
  long a, b;
};
#pragma omp declare reduction(+ : struct Pair : omp_out.a += omp_in.a, omp_out.b += omp_in.b)      \
    initializer(omp_priv = {0, 0})

static void groups(void) {
  int sum = 100, most = 0;
  double product = 1;
  struct Pair pair = {1, 2};
#pragma omp parallel
#pragma omp single
  {
#pragma omp taskgroup task_reduction(+ : sum, pair) task_reduction(max : most)                     \
    task_reduction(* : product)
    {
      for (int i = 0; i < 100; i++) {
#pragma omp task in_reduction(+ : sum, pair) in_reduction(max : most) firstprivate(i)
        {
          sum += i;
          pair.a += i;
          pair.b += 1;
          if (i * 7 % 101 > most)
            most = i * 7 % 101;
        }
        if (i < 10) {
#pragma omp task in_reduction(* : product)
          product *= 2;
        }
      }
    }
    CHECK(sum == 100 + 4950 && most == 100 && product == 1024);
    CHECK(pair.a == 4951 && pair.b == 102);
  }
}

static int nodes;

static void tree(int depth) {
#pragma omp task in_reduction(+ : nodes)
  {
    nodes += 1;
    if (depth) {
      tree(depth - 1);
      tree(depth - 1);
#pragma omp taskwait
    }
  }
}

static void sections_of_arrays(void) {
  int array[10] = {0};
#pragma omp parallel
#pragma omp single
  {
#pragma omp taskgroup task_reduction(+ : array)
    {
      for (int i = 0; i < 100; i++) {
#pragma omp task in_reduction(+ : array) firstprivate(i)
        array[i % 10] += i;
      }
    }
    int total = 0;
    for (int i = 0; i < 10; i++) {
      CHECK(array[i] == 450 + 10 * i);
      total += array[i];
    }
    CHECK(total == 4950);
    nodes = 0;
#pragma omp taskgroup task_reduction(+ : nodes)
    tree(5);
    CHECK(nodes == 63);
  }
}

static void modifier(int most) {
  int sum = 0, other = 0, third = 0;
#pragma omp parallel reduction(task, + : sum)
  {
    sum += 1;
    for (int i = 0; i < 10; i++) {
#pragma omp task in_reduction(+ : sum)
      sum += 10;
    }
  }
  CHECK(sum == most * 101);
#pragma omp parallel
  {
#pragma omp for reduction(task, + : other)
    for (int i = 0; i < 20; i++) {
      other += 1;
#pragma omp task in_reduction(+ : other) firstprivate(i)
      other += i;
    }
    CHECK(other == 20 + 190);
#pragma omp sections reduction(task, + : third)
    {
      {
#pragma omp task in_reduction(+ : third)
        third += 5;
      }
#pragma omp section
      third += 6;
    }
    CHECK(third == 11);
  }
}

static void loops(void) {
  int sum = 0, within = 0;
#pragma omp parallel
#pragma omp single
  {
#pragma omp taskloop reduction(+ : sum) grainsize(3)
    for (int i = 0; i < 100; i++)
      sum += i;
    CHECK(sum == 4950);
#pragma omp taskgroup task_reduction(+ : within)
    {
#pragma omp taskloop in_reduction(+ : within) num_tasks(7)
      for (int i = 0; i < 100; i++)
        within += i;
#pragma omp task in_reduction(+ : within)
      within += 50;
    }
    CHECK(within == 5000);
  }
}

int main(void) {
  for (int i = 0; i < 5; i++) {
    groups();
    sections_of_arrays();
    modifier(omp_get_max_threads());
    loops();
  }
  return end("task_reduction");
}

#else
int main(void) { return end("task_reduction"); }
#endif
