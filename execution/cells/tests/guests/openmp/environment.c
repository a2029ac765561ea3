/* The OMP_* variables that this run has, as the functions tell them. */
#include "check.h"

static int number(const char *name, int otherwise) {
  const char *value = getenv(name);
  return value ? atoi(value) : otherwise;
}

static int is(const char *name, const char *expected) {
  const char *value = getenv(name);
  return value && !strcmp(value, expected);
}

static void schedule(void) {
  const char *value = getenv("OMP_SCHEDULE");
  const char *names[] = {"", "static", "dynamic", "guided", "auto"};
  omp_sched_t kind;
  int chunk, sum = 0;
  omp_get_schedule(&kind, &chunk);
  if (value) {
    const char *comma = strchr(value, ',');
    CHECK(!strncmp(value, names[(int)kind & 7], strlen(names[(int)kind & 7])));
    if (comma)
      CHECK(chunk == atoi(comma + 1));
  }
#pragma omp parallel for schedule(runtime) reduction(+ : sum)
  for (int i = 0; i < 100; i++)
    sum += i;
  CHECK(sum == 4950);
}

/* OMP_NUM_THREADS=a,b: a for the first level, b for the next. */
static void lists(void) {
  const char *value = getenv("OMP_NUM_THREADS");
  const char *comma = value ? strchr(value, ',') : NULL;
  if (!value)
    return;
  CHECK(omp_get_max_threads() == atoi(value));
  if (!comma)
    return;
  CHECK(omp_get_max_active_levels() >= 2);
  int inner = atoi(comma + 1), count = 0;
#pragma omp parallel
  {
    CHECK(omp_get_num_threads() == atoi(value) && omp_get_max_threads() == inner);
#pragma omp parallel reduction(+ : count)
    count++;
  }
  CHECK(count >= inner);
}

int main(void) {
  lists();
  schedule();
  CHECK(!omp_get_dynamic() == !is("OMP_DYNAMIC", "true"));
  CHECK(!omp_get_cancellation() == !is("OMP_CANCELLATION", "true"));
  int levels = number("OMP_MAX_ACTIVE_LEVELS", 0);
  if (levels)
    CHECK(omp_get_max_active_levels() == levels);
  int limit = number("OMP_THREAD_LIMIT", 0);
  if (limit) {
    CHECK(omp_get_thread_limit() == limit);
    int count = 0;
#pragma omp parallel num_threads(8) reduction(+ : count)
    count++;
    CHECK(count >= 1 && count <= limit);
  }
  CHECK(omp_get_max_task_priority() == number("OMP_MAX_TASK_PRIORITY", 0));
  /* OMP_STACKSIZE: a frame of half of it is there. */
  if (is("OMP_STACKSIZE", "2M")) {
    int sum = 0;
#pragma omp parallel num_threads(3) reduction(+ : sum)
    {
      volatile char frame[900 << 10];
      for (unsigned i = 0; i < sizeof frame; i += 4096)
        frame[i] = 1;
      sum += frame[4096];
    }
    CHECK(sum >= 1);
  }
  return end("environment");
}
