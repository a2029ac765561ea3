/* target without devices: everything runs on the host. */
#include "check.h"

#pragma omp declare target
static int table[10];
static int doubled(int x) { return 2 * x; }
#pragma omp end declare target

static void regions(void) {
  int a = 1, b = 2, array[10] = {0}, sum = 0;
  double *pointer = malloc(20 * sizeof *pointer);
#pragma omp target map(tofrom : a) map(to : b)
  {
    CHECK(omp_is_initial_device());
    a += doubled(b);
  }
  CHECK(a == 5);
#pragma omp target enter data map(to : array) map(alloc : pointer[0 : 20])
#pragma omp target map(tofrom : array) firstprivate(b)
  {
    b++;
    for (int i = 0; i < 10; i++)
      array[i] = i + b;
  }
#pragma omp target update from(array)
#pragma omp target parallel for map(tofrom : array, pointer[0 : 20]) reduction(+ : sum)
  for (int i = 0; i < 10; i++) {
    array[i]++;
    pointer[i] = i;
    sum += i;
  }
#pragma omp target exit data map(from : array) map(release : pointer[0 : 20])
  CHECK(b == 2 && sum == 45);
  for (int i = 0; i < 10; i++)
    CHECK(array[i] == i + 4 && pointer[i] == i);
#pragma omp target data map(tofrom : a) use_device_ptr(pointer) if (a > 100)
  {
#pragma omp target if (0) map(a)
    a++;
#pragma omp target device(0) map(a)
    a++;
  }
  CHECK(a == 7);
#pragma omp target
  for (int i = 0; i < 10; i++)
    table[i] = doubled(i);
  CHECK(table[9] == 18);
  free(pointer);
}

static void later(void) {
  int value = 0, other = 0;
#pragma omp parallel
#pragma omp single
  {
#pragma omp target nowait depend(out : value) map(tofrom : value)
    value = 3;
#pragma omp target nowait depend(in : value) depend(out : other) map(tofrom : value, other)
    other = value + 1;
#pragma omp task depend(in : other) shared(other)
    CHECK(other == 4);
#pragma omp taskwait
  }
  CHECK(value == 3 && other == 4);
}

static void memory(void) {
  int host = omp_get_initial_device(), numbers[10], other[10] = {0};
  for (int i = 0; i < 10; i++)
    numbers[i] = i;
  int *device = omp_target_alloc(sizeof numbers, host);
  CHECK(device != NULL);
  CHECK(!omp_target_memcpy(device, numbers, sizeof numbers, 0, 0, host, host));
  CHECK(!omp_target_memcpy(other, device, 5 * sizeof(int), 0, 2 * sizeof(int), host, host));
  for (int i = 0; i < 10; i++)
    CHECK(device[i] == i && other[i] == (i < 5 ? i + 2 : 0));
  CHECK(omp_target_is_present(numbers, host));
  int table[6][8] = {{0}}, part[2][3] = {{1, 2, 3}, {4, 5, 6}};
  size_t volume[2] = {2, 2}, at[2] = {3, 5}, from[2] = {0, 1}, lengths[2] = {6, 8},
         from_lengths[2] = {2, 3};
  CHECK(omp_target_memcpy_rect(NULL, NULL, sizeof(int), 2, volume, at, from, lengths, from_lengths,
                               host, host) >= 3);
  CHECK(!omp_target_memcpy_rect(table, part, sizeof(int), 2, volume, at, from, lengths,
                                from_lengths, host, host));
  for (int i = 0; i < 6; i++)
    for (int j = 0; j < 8; j++) {
      int inside = i >= 3 && i < 5 && j >= 5 && j < 7;
      CHECK(table[i][j] == (inside ? part[i - 3][j - 4] : 0));
    }
  omp_target_free(device, host);
}

int main(void) {
  regions();
  later();
  memory();
  return end("target");
}
