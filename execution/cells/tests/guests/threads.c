/* Checks its own results; ends with "right" and the number of threads. */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

#define COUNT 1000000
#define HEAP ((size_t)1200 << 20)

static int own;
#pragma omp threadprivate(own)

static int wrong;

static void check(int right, const char *what) {
  if (!right) {
    wrong = 1;
    printf("wrong: %s\n", what);
  }
}

static long fib(int n) {
  long a, b;
  if (n < 2)
    return n;
#pragma omp task shared(a)
  a = fib(n - 1);
#pragma omp task shared(b)
  b = fib(n - 2);
#pragma omp taskwait
  return a + b;
}

static void loops(double *numbers) {
  double sum = 0;
  long count = 0;
  int most = 0, next = 0, ordered = 1;
#pragma omp parallel for schedule(static)
  for (int i = 0; i < COUNT; i++)
    numbers[i] = i;
#pragma omp parallel for reduction(+ : sum) reduction(max : most)
  for (int i = 0; i < COUNT; i++) {
    sum += numbers[i];
    if (i > most)
      most = i;
  }
  check(sum == (double)COUNT * (COUNT - 1) / 2 && most == COUNT - 1, "reduction");
#pragma omp parallel for schedule(dynamic, 7)
  for (int i = 0; i < COUNT; i++) {
#pragma omp atomic
    count++;
  }
  check(count == COUNT, "dynamic");
  count = 0;
#pragma omp parallel for schedule(guided)
  for (long i = 0; i < COUNT / 10; i++) {
#pragma omp critical
    count++;
  }
  check(count == COUNT / 10, "critical");
#pragma omp parallel for ordered schedule(dynamic)
  for (int i = 0; i < 200; i++) {
#pragma omp ordered
    {
      if (next != i)
        ordered = 0;
      next++;
    }
  }
  check(ordered, "ordered");
}

static void tasks(void) {
  long result = 0;
  int sum = 0;
#pragma omp parallel
#pragma omp single
  result = fib(16);
  check(result == 987, "tasks");
#pragma omp parallel
#pragma omp single
#pragma omp taskloop shared(sum) grainsize(7)
  for (int i = 0; i < 100; i++) {
#pragma omp atomic
    sum += i;
  }
  check(sum == 4950, "taskloop");
}

static void variables(void) {
  int same = 1;
  _Complex double sum = 0;
#pragma omp parallel
  own = omp_get_thread_num();
#pragma omp parallel reduction(&& : same)
  same = same && own == omp_get_thread_num();
  check(same, "threadprivate");
#pragma omp parallel for
  for (int i = 0; i < 1000; i++) {
#pragma omp atomic
    sum += 1;
  }
  check(__real__ sum == 1000, "atomic of 16 bytes");
}

static void allocator(char *heap) {
  enum { BLOCKS = 10000 };
  static char *blocks[BLOCKS];
  int intact = 1;
#pragma omp parallel for schedule(dynamic)
  for (int i = 0; i < BLOCKS; i++) {
    blocks[i] = malloc(i % 97 + 1);
    for (int j = 0; j <= i % 97; j++)
      blocks[i][j] = (char)i;
  }
  for (size_t i = 0; i < HEAP; i += 4096)
    heap[i] = (char)(i >> 12);
  for (int i = 0; i < BLOCKS; i++)
    for (int j = 0; j <= i % 97; j++)
      intact = intact && blocks[i][j] == (char)i;
#pragma omp parallel for reduction(&& : intact)
  for (size_t i = 0; i < HEAP; i += 4096)
    intact = intact && heap[i] == (char)(i >> 12);
  check(intact, "memory");
}

int main(void) {
  char *heap = malloc(HEAP);
  double *numbers = malloc(COUNT * sizeof *numbers);
  if (!heap || !numbers) {
    puts("no memory");
    return 2;
  }
  loops(numbers);
  tasks();
  variables();
  allocator(heap);
  if (!wrong)
    printf("right %d\n", omp_get_max_threads());
  return wrong;
}
