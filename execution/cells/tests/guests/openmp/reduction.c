/* reduction: every operator, on scalars and arrays, in every construct. */
#include "check.h"
#include <float.h>
#include <limits.h>

#define COUNT 200

static void integers(void) {
  int sum = 5, difference = 1000, product = 1, all = -1, any = 0, odd = 0, and = 1, or = 0;
  int greatest = INT_MIN, least = INT_MAX;
#pragma omp parallel for reduction(+ : sum) reduction(- : difference) reduction(* : product)       \
    reduction(& : all) reduction(| : any) reduction(^ : odd) reduction(&& : and)                   \
    reduction(|| : or) reduction(max : greatest) reduction(min : least)
  for (int i = 0; i < COUNT; i++) {
    sum += i;
    difference -= i;
    product *= i < 10 ? 2 : 1;
    all &= i == 77 ? ~4 : -1;
    any |= i == 33 ? 8 : 0;
    odd ^= i;
    and = and && i >= 0;
    or = or || i == 150;
    int value = (i * 37) % 211;
    greatest = value > greatest ? value : greatest;
    least = value < least ? value : least;
  }
  int expected = 0, most = INT_MIN, fewest = INT_MAX;
  for (int i = 0; i < COUNT; i++) {
    expected ^= i;
    int value = (i * 37) % 211;
    most = value > most ? value : most;
    fewest = value < fewest ? value : fewest;
  }
  CHECK(sum == 5 + 19900 && difference == 1000 - 19900 && product == 1024);
  CHECK(all == ~4 && any == 8 && odd == expected && and == 1 && or == 1);
  CHECK(greatest == most && least == fewest);
}

#define TYPE(name, type)                                                                           \
  static void name(void) {                                                                         \
    type sum = 0, product = 1, greatest = 0, least = 100;                                          \
    _Pragma("omp parallel") {                                                                      \
      _Pragma("omp for reduction(+ : sum) reduction(* : product) schedule(dynamic, 3)")            \
      for (int i = 0; i < 100; i++) {                                                              \
        sum += 1;                                                                                  \
        if (i < 5)                                                                                 \
          product *= 2;                                                                            \
      }                                                                                            \
      CHECK(sum == 100 && product == 32);                                                          \
      _Pragma("omp for reduction(max : greatest) reduction(min : least) nowait")                   \
      for (int i = 1; i < 100; i++) {                                                              \
        if (i > greatest)                                                                          \
          greatest = (type)i;                                                                      \
        if (i < least)                                                                             \
          least = (type)i;                                                                         \
      }                                                                                            \
    }                                                                                              \
    CHECK(greatest == 99 && least == 1);                                                           \
  }

TYPE(chars, signed char)
TYPE(bytes, unsigned char)
TYPE(shorts, short)
TYPE(unsigneds, unsigned)
TYPE(longs, long)
TYPE(long_longs, long long)
TYPE(unsigned_long_longs, unsigned long long)
TYPE(floats, float)
TYPE(doubles, double)
TYPE(long_doubles, long double)

static void arrays(void) {
  int whole[16] = {0}, grid[4][5] = {{0}};
  double *section = malloc(32 * sizeof *section);
  for (int i = 0; i < 32; i++)
    section[i] = i;
#pragma omp parallel for reduction(+ : whole, grid) reduction(+ : section[8 : 16])
  for (int i = 0; i < 320; i++) {
    whole[i % 16] += i;
    grid[i % 4][i % 5]++;
    section[8 + i % 16] += 1;
  }
  for (int i = 0; i < 16; i++)
    CHECK(whole[i] == 20 * i + 16 * 190);
  for (int i = 0; i < 20; i++)
    CHECK(grid[i % 4][i % 5] == 16);
  for (int i = 0; i < 32; i++)
    CHECK(section[i] == i + (i >= 8 && i < 24 ? 20 : 0));
  free(section);
}

static void variable_length(int length) {
  long array[length], *pointer = array;
  for (int i = 0; i < length; i++)
    array[i] = 1;
#pragma omp parallel for reduction(+ : array)
  for (int i = 0; i < 100; i++)
    array[i % length] += i;
#pragma omp parallel for reduction(max : pointer[ : length])
  for (int i = 0; i < 100; i++)
    if (pointer[i % length] < 0)
      pointer[i % length] = 0;
  long sum = 0;
  for (int i = 0; i < length; i++)
    sum += array[i];
  CHECK(sum == length + 4950);
}

static void constructs(int most) {
  int threads = 0, parts = 0, both = 0;
#pragma omp parallel reduction(+ : threads)
  threads++;
  CHECK(threads == most);
#pragma omp parallel sections reduction(+ : parts)
  {
    parts += 1;
#pragma omp section
    parts += 2;
#pragma omp section
    parts += 4;
  }
  CHECK(parts == 7);
  /* A variable of the region that a loop within it reduces. */
#pragma omp parallel shared(both)
  {
    for (int round = 1; round <= 30; round++) {
#pragma omp for reduction(+ : both)
      for (int i = 0; i < 10; i++)
        both++;
      CHECK(both == 10 * round);
#pragma omp barrier
    }
  }
  CHECK(both == 300);
  float sum = 0;
#pragma omp parallel for simd reduction(+ : sum)
  for (int i = 0; i < 1000; i++)
    sum += 1;
  CHECK(sum == 1000);
}

/* Results that differ but by the order of additions. */
static void real_numbers(void) {
  double sum = 0, exact = 0;
#pragma omp parallel for reduction(+ : sum) schedule(guided)
  for (int i = 1; i <= 10000; i++)
    sum += 1.0 / i;
  for (int i = 1; i <= 10000; i++)
    exact += 1.0 / i;
  CHECK(sum - exact < 1e-9 && exact - sum < 1e-9);
  double greatest = -DBL_MAX;
#pragma omp parallel for reduction(max : greatest)
  for (int i = 0; i < 1000; i++)
    if (-(double)i - 0.5 > greatest)
      greatest = -(double)i - 0.5;
  CHECK(greatest == -0.5);
  _Complex double pair = 1;
#pragma omp parallel for reduction(+ : pair)
  for (int i = 0; i < 100; i++)
    pair += 1 + 2 * __builtin_complex(0.0, 1.0);
  CHECK(__real__ pair == 101 && __imag__ pair == 200);
}

int main(void) {
  int most = omp_get_max_threads();
  void (*const all[])(void) = {integers, chars, bytes, shorts, unsigneds, longs, long_longs,
                               unsigned_long_longs, floats, doubles, long_doubles, arrays,
                               real_numbers};
  for (unsigned i = 0; i < sizeof all / sizeof *all; i++)
    all[i]();
  variable_length(7);
  constructs(most);
  return end("reduction");
}
