/* task depend: chains, graphs, and what is not ordered. */
#include "check.h"

static void chain(void) {
  int value = 0;
#pragma omp parallel
#pragma omp single
  for (int i = 0; i < 200; i++) {
#pragma omp task depend(inout : value) shared(value) firstprivate(i)
    {
      CHECK(value == i);
      value = i + 1;
    }
  }
  CHECK(value == 200);
}

static void readers_and_writers(void) {
  int value = 0, readers = 0;
#pragma omp parallel
#pragma omp single
  for (int round = 1; round <= 20; round++) {
#pragma omp task depend(out : value) shared(value, readers) firstprivate(round)
    {
      CHECK(readers == (round - 1) * 4);
      value = round;
    }
    for (int reader = 0; reader < 4; reader++) {
#pragma omp task depend(in : value) shared(value, readers) firstprivate(round)
      {
        CHECK(value == round);
#pragma omp atomic
        readers++;
      }
    }
  }
  CHECK(readers == 80);
}

/* Blocks of a table, each after those above and to its left. */
static void wavefront(void) {
  enum { SIDE = 12 };
  static int table[SIDE + 1][SIDE + 1];
  memset(table, 0, sizeof table);
  table[0][1] = 1;
#pragma omp parallel
#pragma omp single
  for (int i = 1; i <= SIDE; i++)
    for (int j = 1; j <= SIDE; j++) {
#pragma omp task depend(in : table[i - 1][j], table[i][j - 1]) depend(out : table[i][j])           \
    firstprivate(i, j)
      table[i][j] = table[i - 1][j] + table[i][j - 1];
    }
  int expected[SIDE + 1] = {0};
  expected[1] = 1;
  for (int i = 1; i <= SIDE; i++)
    for (int j = 1; j <= SIDE; j++) {
      expected[j] += expected[j - 1];
      CHECK(table[i][j] == expected[j]);
    }
}

static void sections_of_arrays(void) {
  int array[40] = {0};
#pragma omp parallel
#pragma omp single
  {
    for (int part = 0; part < 4; part++) {
#pragma omp task depend(out : array[part * 10 : 10]) shared(array) firstprivate(part)
      for (int i = 0; i < 10; i++)
        array[part * 10 + i] = part;
    }
    for (int part = 0; part < 4; part++) {
#pragma omp task depend(inout : array[part * 10 : 10]) shared(array) firstprivate(part)
      for (int i = 0; i < 10; i++)
        array[part * 10 + i] += i;
    }
  }
  for (int i = 0; i < 40; i++)
    CHECK(array[i] == i / 10 + i % 10);
}

/* One that is run at once waits for those before it; siblings alone count. */
static void undeferred(void) {
  int value = 0, other = 0;
#pragma omp parallel
#pragma omp single
  {
#pragma omp task depend(out : value) shared(value)
    value = 1;
#pragma omp task depend(in : value) depend(out : other) shared(value, other) if (0)
    {
      CHECK(value == 1);
      other = 2;
    }
    CHECK(other == 2);
#pragma omp task depend(inout : value) shared(value) final(1)
    value++;
#pragma omp task depend(in : value) shared(value, other)
    {
      CHECK(value == 2);
#pragma omp task depend(out : value) shared(other)
      other = 3;
#pragma omp taskwait
      CHECK(other == 3);
    }
  }
}

/* 5.0: waits for some only, exclusion without order, objects, iterators. */
static void newer(void) {
#if defined(__clang__)
  int first = 0, second = 0, sum = 0, inside = 0, array[10] = {0};
#pragma omp parallel
#pragma omp single
  {
#pragma omp task depend(out : first) shared(first)
    first = 1;
#pragma omp task depend(out : second) shared(second)
    second = 1;
#pragma omp taskwait depend(in : first)
    CHECK(first == 1);
    for (int i = 0; i < 30; i++) {
#pragma omp task depend(mutexinoutset : sum) shared(sum, inside)
      {
        CHECK(inside++ == 0);
        sum++;
        inside--;
      }
    }
#pragma omp task depend(in : sum) shared(sum)
    CHECK(sum == 30);
#pragma omp taskwait
    omp_depend_t object;
    int value = 0;
#pragma omp depobj(object) depend(inout : value)
    for (int i = 0; i < 10; i++) {
#pragma omp task depend(depobj : object) shared(value) firstprivate(i)
      {
        CHECK(value == i);
        value++;
      }
    }
#pragma omp taskwait
#pragma omp depobj(object) update(in)
#pragma omp depobj(object) destroy
    CHECK(value == 10);
    for (int i = 0; i < 10; i++) {
#pragma omp task depend(out : array[i]) shared(array) firstprivate(i)
      array[i] = i;
    }
#pragma omp task depend(iterator(int i = 0 : 10), in : array[i]) shared(array)
    for (int i = 0; i < 10; i++)
      CHECK(array[i] == i);
  }
#endif
}

int main(void) {
  chain();
  readers_and_writers();
  wavefront();
  sections_of_arrays();
  undeferred();
  newer();
  return end("task_depend");
}
