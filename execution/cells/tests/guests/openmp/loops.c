/* for: collapse, lastprivate, linear, private, nowait, and the ends of types. */
#include "check.h"
#include <limits.h>

static void collapsed(int none) {
  static int table[7][5][3];
  memset(table, 0, sizeof table);
#pragma omp parallel for collapse(3) schedule(dynamic, 4)
  for (int i = 0; i < 7; i++)
    for (int j = 4; j >= 0; j--)
      for (unsigned k = 0; k < 6; k += 2) {
#pragma omp atomic
        table[i][j][k / 2] += 1 + i * 100 + j * 10 + (int)k;
      }
  for (int i = 0; i < 7; i++)
    for (int j = 0; j < 5; j++)
      for (int k = 0; k < 3; k++)
        CHECK(table[i][j][k] == 1 + i * 100 + j * 10 + 2 * k);
  int count = 0, last = -1;
#pragma omp parallel for collapse(2) reduction(+ : count) lastprivate(last)
  for (int i = 0; i < 10; i++)
    for (int j = 0; j < 11; j++) {
      count++;
      last = i * 100 + j;
    }
  CHECK(count == 110 && last == 910);
  count = 0;
#pragma omp parallel for collapse(2) reduction(+ : count)
  for (int i = 0; i < 10; i++)
    for (int j = 0; j < none; j++)
      count++;
  CHECK(count == 0);
  /* More iterations than an int has, dealt out but for a few not run. */
  long long sum = 0;
#pragma omp parallel for collapse(2) reduction(+ : sum) schedule(static)
  for (long long i = 0; i < 3; i++)
    for (int j = 0; j < 1000; j++)
      sum += i * 1000 + j;
  CHECK(sum == 2999LL * 3000 / 2);
}

static void triangular(void) {
#if defined(__clang__)
  int count = 0;
#pragma omp parallel for collapse(2) reduction(+ : count)
  for (int i = 0; i < 20; i++)
    for (int j = i; j < 20; j++)
      count++;
  CHECK(count == 210);
#endif
}

static void last(void) {
  int last = -1, kept = 5, array[3] = {0};
  struct { int a; double b; } pair = {0, 0};
#pragma omp parallel
  {
#pragma omp for lastprivate(last, array, pair) schedule(monotonic : dynamic)
    for (int i = 0; i < 37; i++) {
      last = i;
      array[0] = array[1] = array[2] = i * 2;
      pair.a = i;
      pair.b = i + 0.5;
    }
    CHECK(last == 36 && array[2] == 72);
    CHECK(pair.a == 36 && pair.b == 36.5);
#pragma omp for firstprivate(kept) lastprivate(kept) schedule(static, 2)
    for (int i = 0; i < 9; i++) {
      CHECK(kept >= 5);
      kept = 5 + i;
    }
    CHECK(kept == 13);
  }
  int none = 9;
#pragma omp parallel for lastprivate(none)
  for (int i = 0; i < 1; i++)
    none = 10;
  CHECK(none == 10);
  int index;
#pragma omp parallel for lastprivate(index)
  for (index = 0; index < 10; index += 3)
    ;
  CHECK(index == 12);
}

static void linear(void) {
  int position = 100, wide = 0, places[50];
#pragma omp parallel for linear(position : 3) schedule(static, 4)
  for (int i = 0; i < 50; i++) {
    places[i] = position;
    position += 3;
  }
  CHECK(position == 250);
  for (int i = 0; i < 50; i++)
    CHECK(places[i] == 100 + 3 * i);
#pragma omp parallel for simd linear(wide : 2)
  for (int i = 0; i < 50; i++) {
    places[i] = wide;
    wide += 2;
  }
  CHECK(wide == 100 && places[49] == 98);
}

static void waiting(int most) {
  static int first[1000], second[1000];
  int sum = 0;
#pragma omp parallel
  {
#pragma omp for nowait schedule(static)
    for (int i = 0; i < 1000; i++)
      first[i] = i;
#pragma omp for nowait schedule(dynamic, 5)
    for (int i = 0; i < 1000; i++)
      second[i] = i;
#pragma omp barrier
    /* Many loops that nobody waits for: the fastest is not too far ahead. */
    for (int round = 0; round < 300; round++) {
#pragma omp for nowait schedule(dynamic)
      for (int i = 0; i < 2; i++) {
#pragma omp atomic
        sum += first[i] + second[i] + 1;
      }
    }
  }
  CHECK(sum == 300 * 4);
  (void)most;
}

static void extremes(void) {
  int count = 0;
#pragma omp parallel for reduction(+ : count) schedule(dynamic)
  for (int i = INT_MAX - 9; i < INT_MAX; i++)
    count += i > 0;
#pragma omp parallel for reduction(+ : count) schedule(static, 4)
  for (int i = INT_MIN + 9; i > INT_MIN; i--)
    count += i < 0;
#pragma omp parallel for reduction(+ : count) schedule(guided)
  for (short i = 32000; i < 32600; i += 100)
    count++;
#pragma omp parallel for reduction(+ : count)
  for (unsigned char i = 250; i < 255; i++)
    count++;
#pragma omp parallel for reduction(+ : count)
  for (int i = 10; i >= 10; i--)
    count++;
  CHECK(count == 9 + 9 + 6 + 5 + 1);
  long total = 0;
#pragma omp parallel for reduction(+ : total) schedule(static)
  for (int i = INT_MIN; i < -1000000000; i += 100000007)
    total++;
  CHECK(total == 12);
  int array[20] = {0};
#pragma omp parallel for
  for (int *at = array; at < array + 20; at += 2)
    *at = 1;
  for (int i = 0; i < 20; i++)
    CHECK(array[i] == (i % 2 == 0));
}

int main(void) {
  int most = omp_get_max_threads();
  collapsed(0);
  triangular();
  last();
  linear();
  waiting(most);
  extremes();
  return end("loops");
}
