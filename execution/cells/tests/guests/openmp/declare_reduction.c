/* Reductions that the program declares, and scans. */
#include "check.h"

struct Point {
  double x, y;
};

static struct Point add(struct Point a, struct Point b) {
  return (struct Point){a.x + b.x, a.y + b.y};
}

static void origin(struct Point *point) { point->x = point->y = 0; }

struct Place {
  int value, index;
};

#pragma omp declare reduction(+ : struct Point : omp_out = add(omp_out, omp_in))                   \
    initializer(origin(&omp_priv))
#pragma omp declare reduction(first_most : struct Place : omp_out =                                \
    omp_in.value > omp_out.value ||                                                                \
    (omp_in.value == omp_out.value && omp_in.index < omp_out.index) ? omp_in : omp_out)            \
    initializer(omp_priv = {-1, 0x7fffffff})
#pragma omp declare reduction(longest : int, long : omp_out = omp_in > omp_out ? omp_in : omp_out) \
    initializer(omp_priv = omp_orig)

static void points(int most) {
  struct Point sum = {1, 2};
#pragma omp parallel for reduction(+ : sum)
  for (int i = 0; i < 100; i++) {
    sum.x += 1;
    sum.y += i;
  }
  CHECK(sum.x == 101 && sum.y == 4952);
  struct Point several[3] = {{0, 0}};
#pragma omp parallel reduction(+ : several)
  several[omp_get_thread_num() % 3].x += 1;
  CHECK(several[0].x + several[1].x + several[2].x == most);
}

static void places(void) {
  struct Place place = {-1, 0};
#pragma omp parallel for reduction(first_most : place) schedule(dynamic, 7)
  for (int i = 0; i < 1000; i++) {
    int value = i * 31 % 500;
    if (value > place.value || (value == place.value && i < place.index)) {
      place.value = value;
      place.index = i;
    }
  }
  CHECK(place.value == 499 && place.index * 31 % 500 == 499 && place.index < 500);
}

static void originals(void) {
  int length = 50;
  long other = 7;
#pragma omp parallel for reduction(longest : length, other)
  for (int i = 0; i < 100; i++) {
    if (i > length)
      length = i;
    if (i / 20 > other)
      other = i / 20;
  }
  CHECK(length == 99 && other == 7);
}

static void local(void) {
#pragma omp declare reduction(bits : unsigned : omp_out |= omp_in) initializer(omp_priv = 0)
  unsigned bits = 0;
#pragma omp parallel for reduction(bits : bits)
  for (int i = 0; i < 32; i++)
    bits |= 1u << i;
  CHECK(bits == 0xffffffffu);
}

/* 5.0: prefix sums. */
static void scans(void) {
#if defined(__clang__)
  static int values[200], inclusive[200], exclusive[200];
  int sum = 0;
  for (int i = 0; i < 200; i++)
    values[i] = i % 9;
#pragma omp parallel for reduction(inscan, + : sum)
  for (int i = 0; i < 200; i++) {
    sum += values[i];
#pragma omp scan inclusive(sum)
    inclusive[i] = sum;
  }
  sum = 0;
#pragma omp parallel for reduction(inscan, + : sum)
  for (int i = 0; i < 200; i++) {
    exclusive[i] = sum;
#pragma omp scan exclusive(sum)
    sum += values[i];
  }
  for (int i = 0, expected = 0; i < 200; i++) {
    CHECK(exclusive[i] == expected);
    expected += values[i];
    CHECK(inclusive[i] == expected);
  }
#endif
}

int main(void) {
  points(omp_get_max_threads());
  places();
  originals();
  local();
  scans();
  return end("declare_reduction");
}
