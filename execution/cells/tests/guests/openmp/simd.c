/* simd, declare simd, and their combinations with loops. */
#include "check.h"
#include <math.h>

#define COUNT 1000

static float a[COUNT], b[COUNT], c[COUNT];

#pragma omp declare simd uniform(factor) notinbranch
static float scaled(float x, float factor) { return x * factor + 1; }

#pragma omp declare simd linear(at : 1) inbranch
static float from(const float *at) { return *at; }

static void plain(void) {
#pragma omp simd
  for (int i = 0; i < COUNT; i++) {
    a[i] = (float)i;
    b[i] = 2.0f;
  }
#pragma omp simd safelen(8) simdlen(4) aligned(a : 4)
  for (int i = 0; i < COUNT; i++)
    c[i] = a[i] * b[i];
#pragma omp simd safelen(2)
  for (int i = 2; i < COUNT; i++)
    c[i] = c[i - 2] + 1;
  for (int i = 0; i < COUNT; i++)
    CHECK(c[i] == (float)(i % 2 ? 2 : 0) + (float)(i / 2));
}

static void functions(void) {
#pragma omp parallel for simd schedule(static, 32)
  for (int i = 0; i < COUNT; i++)
    c[i] = scaled((float)i, 3.0f);
  for (int i = 0; i < COUNT; i++)
    CHECK(c[i] == 3.0f * (float)i + 1);
#pragma omp simd
  for (int i = 0; i < COUNT; i++)
    if (i % 3 == 0)
      b[i] = from(c + i);
  for (int i = 0; i < COUNT; i += 3)
    CHECK(b[i] == c[i]);
}

static void clauses(void) {
  int sum = 0, last = -1, own, place = 10, most = 0;
#pragma omp simd reduction(+ : sum) reduction(max : most) lastprivate(last) private(own)           \
    linear(place : 2)
  for (int i = 0; i < COUNT; i++) {
    own = i;
    sum += own;
    last = i;
    place += 2;
    most = most > i ? most : i;
  }
  CHECK(sum == COUNT * (COUNT - 1) / 2 && last == COUNT - 1 && place == 10 + 2 * COUNT);
  CHECK(most == COUNT - 1);
  sum = 0;
#pragma omp simd collapse(2) reduction(+ : sum)
  for (int i = 0; i < 20; i++)
    for (int j = 0; j < 30; j++)
      sum += i * j;
  CHECK(sum == 190 * 435);
}

static void combined(void) {
  double sum = 0;
  int last = 0;
#pragma omp parallel for simd reduction(+ : sum) lastprivate(last)                           \
    schedule(monotonic : dynamic, 16)
  for (int i = 0; i < COUNT; i++) {
    sum += i;
    last = i;
  }
  CHECK(sum == COUNT * (COUNT - 1) / 2 && last == COUNT - 1);
#pragma omp parallel
  {
#pragma omp for simd schedule(simd : static, 5) nowait
    for (int i = 0; i < COUNT; i++)
      a[i] = (float)(2 * i);
#pragma omp barrier
#pragma omp for simd schedule(simd : dynamic, 3) collapse(2)
    for (int i = 0; i < COUNT / 10; i++)
      for (int j = 0; j < 10; j++)
        a[i * 10 + j] += 1;
  }
  for (int i = 0; i < COUNT; i++)
    CHECK(a[i] == (float)(2 * i + 1));
}

int main(void) {
  plain();
  functions();
  clauses();
  combined();
  return end("simd");
}
