/* What programs use of 5.0 and 5.1: allocators, detached tasks, affinity's text, and more. */
#include "check.h"

#if defined(__clang__)

static void allocators(void) {
  int *one = omp_alloc(100 * sizeof(int), omp_default_mem_alloc);
  int *two = omp_alloc(4096, omp_high_bw_mem_alloc);
  CHECK(one && two && one != two);
  one[99] = 5;
  omp_free(one, omp_default_mem_alloc);
  omp_free(two, omp_null_allocator);
  omp_alloctrait_t traits[2] = {{omp_atk_alignment, 256}, {omp_atk_fallback, omp_atv_null_fb}};
  omp_allocator_handle_t own = omp_init_allocator(omp_default_mem_space, 2, traits);
  CHECK(own != omp_null_allocator);
  char *aligned = omp_alloc(1000, own);
  CHECK(aligned && (size_t)aligned % 256 == 0);
  memset(aligned, 7, 1000);
  omp_free(aligned, own);
  char *zeroed = omp_calloc(10, 100, omp_default_mem_alloc);
  CHECK(zeroed && !zeroed[0] && !zeroed[999]);
  zeroed[999] = 3;
  zeroed = omp_realloc(zeroed, 5000, omp_default_mem_alloc, omp_default_mem_alloc);
  CHECK(zeroed && zeroed[999] == 3);
  omp_free(zeroed, omp_default_mem_alloc);
  char *wide = omp_aligned_alloc(1024, 2048, omp_default_mem_alloc);
  CHECK(wide && (size_t)wide % 1024 == 0);
  omp_free(wide, omp_default_mem_alloc);
  omp_destroy_allocator(own);
  omp_set_default_allocator(omp_large_cap_mem_alloc);
  CHECK(omp_get_default_allocator() == omp_large_cap_mem_alloc);
  omp_set_default_allocator(omp_default_mem_alloc);
  int sum = 0, begun = 3;
#pragma omp parallel private(sum) firstprivate(begun) allocate(omp_default_mem_alloc : sum, begun)
  {
    sum = begun + omp_get_thread_num();
#pragma omp barrier
    CHECK(sum == 3 + omp_get_thread_num());
  }
}

/* A task is not done before its event has come. */
static void detached(void) {
  int order = 0;
  for (int round = 0; round < 10; round++) {
    omp_event_handle_t event;
    order = 0;
#pragma omp parallel
#pragma omp single
    {
#pragma omp task detach(event) depend(out : order) shared(order)
      {
#pragma omp atomic
        order++;
      }
#pragma omp task shared(order) firstprivate(event)
      {
#pragma omp atomic
        order++;
        omp_fulfill_event(event);
      }
#pragma omp task depend(in : order) shared(order)
      {
        CHECK(order == 2);
        order = 3;
      }
#pragma omp taskwait
      CHECK(order == 3);
    }
  }
  omp_event_handle_t early;
#pragma omp parallel
#pragma omp single
  {
#pragma omp task detach(early) shared(order)
    {
      omp_fulfill_event(early);
      order = 4;
    }
#pragma omp taskwait
    CHECK(order == 4);
  }
}

static void affinity(void) {
  char before[128], text[128];
  size_t length = omp_get_affinity_format(before, sizeof before);
  CHECK(length > 0 && length < sizeof before);
  omp_set_affinity_format("thread %n of %N at %L");
  CHECK(omp_get_affinity_format(text, sizeof text) == 21);
  CHECK(!strcmp(text, "thread %n of %N at %L"));
  CHECK(omp_get_affinity_format(text, 7) == 21 && !strcmp(text, "thread"));
#pragma omp parallel num_threads(2)
  {
    char own[64], expected[64];
    size_t needed = omp_capture_affinity(own, sizeof own, NULL);
    sprintf(expected, "thread %d of 2 at 1", omp_get_thread_num());
    CHECK(needed == strlen(expected) && !strcmp(own, expected));
    CHECK(omp_capture_affinity(own, sizeof own, "[%5n|%.5{num_threads}|%%]") == 15);
    sprintf(expected, "[%-5d|%5d|%%]", omp_get_thread_num(), 2);
    CHECK(!strcmp(own, expected));
  }
  omp_set_affinity_format(before);
}

static void more(int most) {
  CHECK(omp_pause_resource(omp_pause_soft, omp_get_initial_device()) == 0);
  CHECK(omp_get_device_num() == omp_get_initial_device());
  CHECK(omp_get_max_teams() >= 0 && omp_get_teams_thread_limit() >= 0);
#pragma omp error at(execution) severity(warning) message("this is how a warning looks")
  int sum = 0;
#pragma omp tile sizes(4)
  for (int i = 0; i < 10; i++)
    sum += i;
#pragma omp unroll partial(2)
  for (int i = 0; i < 10; i++)
    sum += i;
  CHECK(sum == 90);
#pragma omp parallel
  {
#pragma omp task affinity(sum) shared(sum)
    {
#pragma omp atomic
      sum++;
    }
  }
  CHECK(sum == 90 + most);
}

int main(void) {
  allocators();
  detached();
  affinity();
  more(omp_get_max_threads());
  return end("newer");
}

#else
int main(void) { return end("newer"); }
#endif
