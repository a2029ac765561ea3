/* Locks and nest locks, with hints and without. */
#include "check.h"

static void simple(int most) {
  omp_lock_t lock, hinted;
  int count = 0, inside = 0;
  omp_init_lock(&lock);
  omp_init_lock_with_hint(&hinted, omp_lock_hint_contended);
#pragma omp parallel shared(lock, hinted, count, inside)
  for (int i = 0; i < 200; i++) {
    omp_set_lock(&lock);
    CHECK(inside++ == 0);
    count++;
    inside--;
    omp_unset_lock(&lock);
    omp_set_lock(&hinted);
    count += 0;
    omp_unset_lock(&hinted);
  }
  CHECK(count == 200 * most);
  CHECK(omp_test_lock(&lock));
  CHECK(!omp_test_lock(&lock));
  omp_unset_lock(&lock);
  omp_destroy_lock(&lock);
  omp_destroy_lock(&hinted);
}

static void tested(int most) {
  omp_lock_t lock;
  int count = 0;
  omp_init_lock(&lock);
#pragma omp parallel shared(lock, count)
  for (int i = 0; i < 50; i++) {
    while (!omp_test_lock(&lock))
      ;
    count++;
    omp_unset_lock(&lock);
  }
  CHECK(count == 50 * most);
  omp_destroy_lock(&lock);
}

static void nest(int most) {
  omp_nest_lock_t lock, hinted;
  int count = 0;
  omp_init_nest_lock(&lock);
  omp_init_nest_lock_with_hint(&hinted, omp_lock_hint_uncontended);
#pragma omp parallel shared(lock, count)
  for (int i = 0; i < 100; i++) {
    omp_set_nest_lock(&lock);
    omp_set_nest_lock(&lock);
    CHECK(omp_test_nest_lock(&lock) == 3);
    count++;
    omp_unset_nest_lock(&lock);
    omp_unset_nest_lock(&lock);
    count++;
    omp_unset_nest_lock(&lock);
  }
  CHECK(count == 200 * most);
  CHECK(omp_test_nest_lock(&hinted) == 1);
  CHECK(omp_test_nest_lock(&hinted) == 2);
  omp_unset_nest_lock(&hinted);
  omp_unset_nest_lock(&hinted);
  omp_destroy_nest_lock(&lock);
  omp_destroy_nest_lock(&hinted);
}

/* A lock that another thread holds is not to be had. */
static void held_elsewhere(int most) {
  omp_lock_t lock;
  omp_nest_lock_t nested;
  if (most < 2)
    return;
  omp_init_lock(&lock);
  omp_init_nest_lock(&nested);
#pragma omp parallel num_threads(2) shared(lock, nested)
  {
    if (omp_get_thread_num() == 0) {
      omp_set_lock(&lock);
      omp_set_nest_lock(&nested);
    }
#pragma omp barrier
    if (omp_get_thread_num() == 1) {
      CHECK(!omp_test_lock(&lock));
      CHECK(!omp_test_nest_lock(&nested));
    }
#pragma omp barrier
    if (omp_get_thread_num() == 0) {
      omp_unset_lock(&lock);
      omp_unset_nest_lock(&nested);
    }
#pragma omp barrier
    if (omp_get_thread_num() == 1) {
      CHECK(omp_test_lock(&lock));
      CHECK(omp_test_nest_lock(&nested) == 1);
      omp_unset_lock(&lock);
      omp_unset_nest_lock(&nested);
    }
  }
  omp_destroy_lock(&lock);
  omp_destroy_nest_lock(&nested);
}

/* Locks belong to tasks: one that is set in a task is released there, whatever runs around it. */
static void many(void) {
  enum { LOCKS = 200 };
  omp_lock_t *locks = malloc(LOCKS * sizeof *locks);
  static int counts[LOCKS];
#pragma omp parallel for
  for (int i = 0; i < LOCKS; i++)
    omp_init_lock(&locks[i]);
#pragma omp parallel for schedule(dynamic)
  for (int i = 0; i < 10 * LOCKS; i++) {
    omp_set_lock(&locks[i * 7 % LOCKS]);
    counts[i * 7 % LOCKS]++;
    omp_unset_lock(&locks[i * 7 % LOCKS]);
  }
  for (int i = 0; i < LOCKS; i++) {
    CHECK(counts[i] == 10);
    omp_destroy_lock(&locks[i]);
  }
  free(locks);
}

int main(void) {
  int most = omp_get_max_threads();
  simple(most);
  tested(most);
  nest(most);
  held_elsewhere(most);
  many();
  return end("locks");
}
