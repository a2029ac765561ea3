/* What threads keep from region to region. Reads a line before each phase. */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int counter;
#pragma omp threadprivate(counter)

int main(void) {
  int most = omp_get_max_threads(), *counters = calloc(most, sizeof *counters);
  omp_lock_t lock;
  omp_init_lock(&lock);
  omp_set_lock(&lock);
  omp_set_schedule(omp_sched_guided, 9);
  double begin = omp_get_wtime();
#pragma omp parallel
  counter = 100 * omp_get_thread_num();
  for (int phase = 0; phase < 3; phase++) {
    int team = 0, chunk;
    omp_sched_t kind;
    char letter;
#pragma omp parallel
    {
      counters[omp_get_thread_num()] = ++counter;
#pragma omp single
      team = omp_get_num_threads();
    }
    omp_get_schedule(&kind, &chunk);
    printf("phase %d: %d of %d:", phase, team, omp_get_max_threads());
    for (int i = 0; i < team; i++)
      printf(" %d", counters[i]);
    printf(", %d %d, %s, %s\n", (int)kind, chunk, omp_test_lock(&lock) ? "free" : "held",
           omp_get_wtime() > begin ? "later" : "earlier");
    fflush(stdout);
    while (phase < 2 && read(0, &letter, 1) == 1 && letter != '\n')
      ;
  }
  omp_unset_lock(&lock);
  return 5;
}
