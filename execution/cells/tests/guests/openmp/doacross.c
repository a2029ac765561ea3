/* ordered(n) with depend(sink) and depend(source). */
#include "check.h"

#define ROWS 30
#define COLUMNS 40

static int table[ROWS][COLUMNS];

static int expected(int i, int j) {
  static int known[ROWS][COLUMNS];
  if (i == 0 || j == 0)
    return 1;
  if (!known[i][j])
    known[i][j] = (expected(i - 1, j) + expected(i, j - 1)) % 10007;
  return known[i][j];
}

static void wavefront(void) {
  memset(table, 0, sizeof table);
#pragma omp parallel for ordered(2) schedule(static, 1)
  for (int i = 0; i < ROWS; i++)
    for (int j = 0; j < COLUMNS; j++) {
#pragma omp ordered depend(sink : i - 1, j) depend(sink : i, j - 1)
      table[i][j] = i && j ? (table[i - 1][j] + table[i][j - 1]) % 10007 : 1;
#pragma omp ordered depend(source)
    }
  for (int i = 0; i < ROWS; i++)
    for (int j = 0; j < COLUMNS; j++)
      CHECK(table[i][j] == expected(i, j));
}

static void chain(void) {
  static long values[200];
  memset(values, 0, sizeof values);
#pragma omp parallel
  {
#pragma omp for ordered(1) schedule(dynamic)
    for (int i = 1; i < 200; i++) {
#pragma omp ordered depend(sink : i - 1)
      values[i] = values[i - 1] + i;
#pragma omp ordered depend(source)
    }
#pragma omp for ordered(1) schedule(dynamic, 3) nowait
    for (int i = 198; i > 0; i -= 2) {
#pragma omp ordered depend(sink : i + 2)
      values[i] = i == 198 ? 1 : values[i + 2] + 1;
#pragma omp ordered depend(source)
    }
  }
  CHECK(values[199] == 199 * 200 / 2);
  CHECK(values[2] == 99);
}

static void far(void) {
  static int steps[300];
#pragma omp parallel for ordered(1) schedule(static, 1)
  for (long long i = 0; i < 300; i++) {
#pragma omp ordered depend(sink : i - 7)
    steps[i] = i < 7 ? 1 : steps[i - 7] + 1;
#pragma omp ordered depend(source)
  }
  for (int i = 0; i < 300; i++)
    CHECK(steps[i] == i / 7 + 1);
}

static void again(void) {
  int last = 0;
#pragma omp parallel
  for (int round = 0; round < 100; round++) {
#pragma omp for ordered(1) nowait
    for (int i = 0; i < 8; i++) {
#pragma omp ordered depend(sink : i - 1)
      if (i == 7) {
#pragma omp atomic
        last++;
      }
#pragma omp ordered depend(source)
    }
  }
  CHECK(last == 100);
}

int main(void) {
  wavefront();
  chain();
  far();
  again();
  return end("doacross");
}
